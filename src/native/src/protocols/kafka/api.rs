//! The requests that there are, as of Kafka 4.3; those that brokers no longer know as well.

use crate::exchange::OperationType;

/// API keys.
pub(super) mod key {
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const METADATA: i16 = 3;
    pub const CONTROLLED_SHUTDOWN: i16 = 7;
    pub const OFFSET_COMMIT: i16 = 8;
    pub const JOIN_GROUP: i16 = 11;
    pub const HEARTBEAT: i16 = 12;
    pub const LEAVE_GROUP: i16 = 13;
    pub const SYNC_GROUP: i16 = 14;
    pub const SASL_HANDSHAKE: i16 = 17;
    pub const API_VERSIONS: i16 = 18;
    pub const TXN_OFFSET_COMMIT: i16 = 28;
    pub const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
    pub const SHARE_GROUP_HEARTBEAT: i16 = 76;
    pub const SHARE_FETCH: i16 = 78;
    pub const SHARE_ACKNOWLEDGE: i16 = 79;
}

/// Never flexible.
const NEVER: i16 = i16::MAX;

/// By key: the latest version, and the first one that is flexible (KIP-482: compact texts, tagged fields).
const VERSIONS: [(i16, i16); 93] = [
    (13, 9),
    (18, 12),
    (11, 6),
    (13, 9),
    (7, 4),
    (4, 2),
    (8, 6),
    (3, 3),
    (10, 8),
    (10, 6),
    (6, 3),
    (9, 6),
    (4, 4),
    (5, 4),
    (5, 4),
    (6, 5),
    (5, 3),
    (1, NEVER),
    (4, 3),
    (7, 5),
    (6, 4),
    (2, 2),
    (6, 2),
    (4, 4),
    (5, 3),
    (4, 3),
    (5, 3),
    (2, 1),
    (5, 3),
    (3, 2),
    (3, 2),
    (3, 2),
    (4, 4),
    (2, 2),
    (2, 2),
    (5, 2),
    (2, 2),
    (3, 2),
    (3, 2),
    (2, 2),
    (2, 2),
    (3, 2),
    (2, 2),
    (2, 2),
    (1, 1),
    (1, 0),
    (0, 0),
    (0, NEVER),
    (1, 1),
    (1, 1),
    (0, 0),
    (0, 0),
    (2, 0),
    (1, 1),
    (1, 1),
    (2, 0),
    (3, 0),
    (2, 0),
    (0, 0),
    (1, 0),
    (2, 0),
    (0, 0),
    (4, 0),
    (2, 0),
    (0, 0),
    (0, 0),
    (2, 0),
    (0, 0),
    (1, 0),
    (1, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (1, 0),
    (0, 0),
    (1, 0),
    (1, 0),
    (2, 0),
    (2, 0),
    (1, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (1, 0),
    (0, 0),
    (1, 0),
    (0, 0),
    (0, 0),
    (1, 0),
    (0, 0),
    (0, 0),
];

/// Versions that may yet come. What they are made of is not known here.
const FUTURE: i16 = 4;

/// What a request's first four bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Api {
    pub key: i16,
    pub version: i16,
}

impl Api {
    /// `None`: there is no such request.
    pub fn new(key: i16, version: i16) -> Option<Self> {
        let (latest, _) = VERSIONS.get(usize::try_from(key).ok()?)?;
        let is_one = (0..=latest + FUTURE).contains(&version);
        // the only one whose header had no client's name
        let is_headless = key == key::CONTROLLED_SHUTDOWN && version == 0;
        (is_one && !is_headless).then_some(Self { key, version })
    }

    fn versions(self) -> (i16, i16) {
        let versions = usize::try_from(self.key).map(|key| VERSIONS.get(key));
        versions.ok().flatten().copied().unwrap_or((0, NEVER))
    }

    /// It is newer than what is known here.
    pub fn is_future(self) -> bool {
        self.version > self.versions().0
    }

    /// Texts are compact, and structures have tagged fields.
    pub fn is_flexible(self) -> bool {
        self.version >= self.versions().1
    }

    /// The response's header has tagged fields. Not that of API_VERSIONS: who asks can't know what is understood.
    pub fn answers_with_tags(self) -> bool {
        self.is_flexible() && self.key != key::API_VERSIONS
    }

    /// What it means to an application; `None`: nothing that is told.
    pub fn operation(self) -> Option<(OperationType, &'static str)> {
        match self.key {
            key::PRODUCE => Some((OperationType::Send, "send")),
            key::FETCH | key::SHARE_FETCH => Some((OperationType::Receive, "poll")),
            key::OFFSET_COMMIT | key::TXN_OFFSET_COMMIT => Some((OperationType::Settle, "commit")),
            key::SHARE_ACKNOWLEDGE => Some((OperationType::Settle, "acknowledge")),
            _ => None,
        }
    }
}
