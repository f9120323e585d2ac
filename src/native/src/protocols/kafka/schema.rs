//! What requests and responses are made of, as tables: of Kafka 4.3's message definitions (KIP-482's format, in
//! clients/src/main/resources/common/message) what is needed here, and of what stands before that how long it is.

use super::api::key;

/// What a field's value is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing.
    None,
    /// messaging.client.id.
    Client,
    /// messaging.consumer.group.name.
    Group,
    /// Of a produce request: how many brokers must have the records before the answer. 0: no answer comes.
    Acks,
    /// Of a fetch request: a broker's number, -1 of consumers.
    Replica,
    /// A topic begins and ends.
    Topic,
    /// A topic's.
    Name,
    /// A topic's.
    Id,
    /// A partition begins and ends.
    Partition,
    /// A partition's.
    Index,
    /// Of a partition.
    Error,
    /// Of the whole.
    TopError,
    /// Of the first record that was produced, fetched from, or committed.
    Offset,
    /// Ranges of offsets that a member of a share group got begin and end, and
    Acquired,
    /// the first of them and
    First,
    /// the last of them.
    Last,
}

/// A field's type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A number of so many bytes.
    Int(u8),
    /// Sixteen bytes.
    Uuid,
    /// STRING and its kin: NULLABLE, COMPACT, both.
    Text,
    /// An array of numbers of so many bytes.
    Ints(u8),
    /// A structure.
    One(&'static [Field]),
    /// An array of structures.
    Many(&'static [Field]),
    /// RECORDS.
    Records,
    /// Whatever follows is not needed.
    Rest,
}

/// A field, and the versions that have it.
#[derive(Debug)]
pub(super) struct Field {
    pub kind: Kind,
    pub since: i16,
    pub until: i16,
    pub mark: Mark,
}

const LAST: i16 = i16::MAX;

const fn field(kind: Kind, since: i16, until: i16, mark: Mark) -> Field {
    Field {
        kind,
        since,
        until,
        mark,
    }
}

const fn all(kind: Kind, mark: Mark) -> Field {
    field(kind, 0, LAST, mark)
}

/// Of what is not known any better.
pub(super) const REST: &[Field] = &[all(Kind::Rest, Mark::None)];

use Kind::{Int, Ints, Many, One, Records, Rest, Text, Uuid};

const API_VERSIONS_REQUEST: &[Field] = &[
    field(Text, 3, LAST, Mark::None), // the client library's name
    field(Text, 3, LAST, Mark::None), // and version
];

const SASL_HANDSHAKE_REQUEST: &[Field] = &[all(Text, Mark::None)];

const METADATA_REQUEST: &[Field] = &[
    all(
        Many(&[field(Uuid, 10, LAST, Mark::None), all(Text, Mark::None)]),
        Mark::None,
    ),
    field(Int(1), 4, LAST, Mark::None), // may topics be created
    field(Int(1), 8, 10, Mark::None),
    field(Int(1), 8, LAST, Mark::None),
];

const METADATA_RESPONSE: &[Field] = &[
    field(Int(4), 3, LAST, Mark::None), // throttled for
    all(
        Many(&[
            all(Int(4), Mark::None),
            all(Text, Mark::None),
            all(Int(4), Mark::None),
            field(Text, 1, LAST, Mark::None),
        ]),
        Mark::None,
    ),
    field(Text, 2, LAST, Mark::None), // the cluster's id
    field(Int(4), 1, LAST, Mark::None),
    all(
        Many(&[
            all(Int(2), Mark::Error),
            all(Text, Mark::Name),
            field(Uuid, 10, LAST, Mark::Id),
            field(Int(1), 1, LAST, Mark::None),
            all(
                Many(&[
                    all(Int(2), Mark::None),
                    all(Int(4), Mark::None),
                    all(Int(4), Mark::None),
                    field(Int(4), 7, LAST, Mark::None),
                    all(Ints(4), Mark::None),
                    all(Ints(4), Mark::None),
                    field(Ints(4), 5, LAST, Mark::None),
                ]),
                Mark::None,
            ),
            field(Int(4), 8, LAST, Mark::None),
        ]),
        Mark::Topic,
    ),
    all(Rest, Mark::None),
];

const PRODUCE_REQUEST: &[Field] = &[
    field(Text, 3, LAST, Mark::None), // the transaction's id
    all(Int(2), Mark::Acks),
    all(Int(4), Mark::None), // time that it may take
    all(
        Many(&[
            field(Text, 0, 12, Mark::Name),
            field(Uuid, 13, LAST, Mark::Id),
            all(
                Many(&[all(Int(4), Mark::Index), all(Records, Mark::None)]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
];

const PRODUCE_RESPONSE: &[Field] = &[
    all(
        Many(&[
            field(Text, 0, 12, Mark::Name),
            field(Uuid, 13, LAST, Mark::Id),
            all(
                Many(&[
                    all(Int(4), Mark::Index),
                    all(Int(2), Mark::Error),
                    all(Int(8), Mark::Offset),
                    field(Int(8), 2, LAST, Mark::None), // when it was appended
                    field(Int(8), 5, LAST, Mark::None), // where the log starts
                    field(
                        Many(&[all(Int(4), Mark::None), all(Text, Mark::None)]),
                        8,
                        LAST,
                        Mark::None,
                    ),
                    field(Text, 8, LAST, Mark::None), // what is wrong
                ]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
    all(Rest, Mark::None),
];

const FETCH_REQUEST: &[Field] = &[
    field(Int(4), 0, 14, Mark::Replica),
    all(Int(4), Mark::None), // time to wait
    all(Int(4), Mark::None), // for so many bytes
    field(Int(4), 3, LAST, Mark::None),
    field(Int(1), 4, LAST, Mark::None), // isolation
    field(Int(4), 7, LAST, Mark::None), // the session's id
    field(Int(4), 7, LAST, Mark::None), // and epoch
    all(
        Many(&[
            field(Text, 0, 12, Mark::Name),
            field(Uuid, 13, LAST, Mark::Id),
            all(
                Many(&[
                    all(Int(4), Mark::Index),
                    field(Int(4), 9, LAST, Mark::None), // the leader's epoch
                    all(Int(8), Mark::Offset),
                    field(Int(4), 12, LAST, Mark::None),
                    field(Int(8), 5, LAST, Mark::None),
                    all(Int(4), Mark::None), // most bytes
                ]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
    field(
        Many(&[
            field(Text, 0, 12, Mark::None),
            field(Uuid, 13, LAST, Mark::None),
            all(Ints(4), Mark::None),
        ]),
        7,
        LAST,
        Mark::None, // forgotten topics
    ),
    field(Text, 11, LAST, Mark::None), // the rack
];

const FETCH_RESPONSE: &[Field] = &[
    field(Int(4), 1, LAST, Mark::None), // throttled for
    field(Int(2), 7, LAST, Mark::TopError),
    field(Int(4), 7, LAST, Mark::None), // the session's id
    all(
        Many(&[
            field(Text, 0, 12, Mark::Name),
            field(Uuid, 13, LAST, Mark::Id),
            all(
                Many(&[
                    all(Int(4), Mark::Index),
                    all(Int(2), Mark::Error),
                    all(Int(8), Mark::None),            // where the log ends
                    field(Int(8), 4, LAST, Mark::None), // the last stable offset
                    field(Int(8), 5, LAST, Mark::None), // where the log starts
                    field(
                        Many(&[all(Int(8), Mark::None), all(Int(8), Mark::None)]),
                        4,
                        LAST,
                        Mark::None, // aborted transactions
                    ),
                    field(Int(4), 11, LAST, Mark::None), // a better replica
                    all(Records, Mark::None),
                ]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
    all(Rest, Mark::None),
];

const OFFSET_COMMIT_REQUEST: &[Field] = &[
    all(Text, Mark::Group),
    field(Int(4), 1, LAST, Mark::None), // the group's generation
    field(Text, 1, LAST, Mark::None),   // the member
    field(Text, 7, LAST, Mark::None),   // its fixed name
    field(Int(8), 2, 4, Mark::None),    // retention
    all(
        Many(&[
            field(Text, 0, 9, Mark::Name),
            field(Uuid, 10, LAST, Mark::Id),
            all(
                Many(&[
                    all(Int(4), Mark::Index),
                    all(Int(8), Mark::Offset),
                    field(Int(8), 1, 1, Mark::None), // time
                    field(Int(4), 6, LAST, Mark::None),
                    all(Text, Mark::None), // metadata
                ]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
];

/// What OFFSET_COMMIT and TXN_OFFSET_COMMIT say of each topic.
const COMMITTED: Kind = Many(&[
    field(Text, 0, 9, Mark::Name),
    field(Uuid, 10, LAST, Mark::Id),
    all(
        Many(&[all(Int(4), Mark::Index), all(Int(2), Mark::Error)]),
        Mark::Partition,
    ),
]);

const OFFSET_COMMIT_RESPONSE: &[Field] = &[
    field(Int(4), 3, LAST, Mark::None), // throttled for
    all(COMMITTED, Mark::Topic),
];

const TXN_OFFSET_COMMIT_REQUEST: &[Field] = &[
    all(Text, Mark::None), // the transaction's id
    all(Text, Mark::Group),
    all(Int(8), Mark::None),
    all(Int(2), Mark::None),
    field(Int(4), 3, LAST, Mark::None),
    field(Text, 3, LAST, Mark::None),
    field(Text, 3, LAST, Mark::None),
    all(
        Many(&[
            all(Text, Mark::Name),
            all(
                Many(&[
                    all(Int(4), Mark::Index),
                    all(Int(8), Mark::Offset),
                    field(Int(4), 2, LAST, Mark::None),
                    all(Text, Mark::None),
                ]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
];

const TXN_OFFSET_COMMIT_RESPONSE: &[Field] = &[
    all(Int(4), Mark::None), // throttled for
    all(COMMITTED, Mark::Topic),
];

/// What stands first in most requests of groups.
const GROUP_REQUEST: &[Field] = &[all(Text, Mark::Group), all(Rest, Mark::None)];

/// Acknowledgements, in both requests of share groups.
const ACKNOWLEDGED: Kind = Many(&[
    all(Int(8), Mark::None),
    all(Int(8), Mark::None),
    all(Ints(1), Mark::None),
]);

const LEADER: Kind = One(&[all(Int(4), Mark::None), all(Int(4), Mark::None)]);

const SHARE_FETCH_RESPONSE: &[Field] = &[
    all(Int(4), Mark::None), // throttled for
    all(Int(2), Mark::TopError),
    all(Text, Mark::None),
    field(Int(4), 1, LAST, Mark::None), // how long they are locked
    all(
        Many(&[
            all(Uuid, Mark::Id),
            all(
                Many(&[
                    all(Int(4), Mark::Index),
                    all(Int(2), Mark::Error),
                    all(Text, Mark::None),
                    all(Int(2), Mark::None), // of acknowledgements that came along
                    all(Text, Mark::None),
                    all(LEADER, Mark::None),
                    all(Records, Mark::None),
                    all(
                        Many(&[
                            all(Int(8), Mark::First),
                            all(Int(8), Mark::Last),
                            all(Int(2), Mark::None),
                        ]),
                        Mark::Acquired,
                    ),
                ]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
    all(Rest, Mark::None),
];

const SHARE_ACKNOWLEDGE_REQUEST: &[Field] = &[
    all(Text, Mark::Group),
    all(Text, Mark::None), // the member
    all(Int(4), Mark::None),
    field(Int(1), 2, LAST, Mark::None),
    all(
        Many(&[
            all(Uuid, Mark::Id),
            all(
                Many(&[all(Int(4), Mark::Index), all(ACKNOWLEDGED, Mark::None)]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
];

const SHARE_ACKNOWLEDGE_RESPONSE: &[Field] = &[
    all(Int(4), Mark::None), // throttled for
    all(Int(2), Mark::TopError),
    all(Text, Mark::None),
    field(Int(4), 2, LAST, Mark::None),
    all(
        Many(&[
            all(Uuid, Mark::Id),
            all(
                Many(&[
                    all(Int(4), Mark::Index),
                    all(Int(2), Mark::Error),
                    all(Text, Mark::None),
                    all(LEADER, Mark::None),
                ]),
                Mark::Partition,
            ),
        ]),
        Mark::Topic,
    ),
    all(Rest, Mark::None),
];

/// Of the request with this API key.
pub(super) fn request(key: i16) -> &'static [Field] {
    match key {
        key::PRODUCE => PRODUCE_REQUEST,
        key::FETCH => FETCH_REQUEST,
        key::METADATA => METADATA_REQUEST,
        key::OFFSET_COMMIT => OFFSET_COMMIT_REQUEST,
        key::JOIN_GROUP | key::HEARTBEAT | key::LEAVE_GROUP | key::SYNC_GROUP => GROUP_REQUEST,
        key::CONSUMER_GROUP_HEARTBEAT | key::SHARE_GROUP_HEARTBEAT | key::SHARE_FETCH => {
            GROUP_REQUEST
        }
        key::SASL_HANDSHAKE => SASL_HANDSHAKE_REQUEST,
        key::API_VERSIONS => API_VERSIONS_REQUEST,
        key::TXN_OFFSET_COMMIT => TXN_OFFSET_COMMIT_REQUEST,
        key::SHARE_ACKNOWLEDGE => SHARE_ACKNOWLEDGE_REQUEST,
        _ => REST,
    }
}

/// Of the response to it.
pub(super) fn response(key: i16) -> &'static [Field] {
    match key {
        key::PRODUCE => PRODUCE_RESPONSE,
        key::FETCH => FETCH_RESPONSE,
        key::METADATA => METADATA_RESPONSE,
        key::OFFSET_COMMIT => OFFSET_COMMIT_RESPONSE,
        key::TXN_OFFSET_COMMIT => TXN_OFFSET_COMMIT_RESPONSE,
        key::SHARE_FETCH => SHARE_FETCH_RESPONSE,
        key::SHARE_ACKNOWLEDGE => SHARE_ACKNOWLEDGE_RESPONSE,
        _ => REST,
    }
}
