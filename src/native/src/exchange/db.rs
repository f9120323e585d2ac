//! A call of a database or a cache, as its protocol says it; semantic conventions 1.44, docs/db/database-spans.md.

/// Which system it is; its name is db.system.name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DbSystem {
    /// PostgreSQL, and what speaks its protocol.
    Postgresql,
    /// MySQL.
    Mysql,
    /// MariaDB, which says so in its greeting.
    Mariadb,
    /// Redis, Valkey, KeyDB.
    Redis,
    /// MongoDB.
    Mongodb,
    /// memcached.
    Memcached,
    /// Apache Cassandra, ScyllaDB.
    Cassandra,
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    Opensearch,
    /// ClickHouse.
    Clickhouse,
    /// Microsoft SQL Server.
    SqlServer,
}

impl DbSystem {
    /// db.system.name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
            Self::Memcached => "memcached",
            Self::Cassandra => "cassandra",
            Self::Elasticsearch => "elasticsearch",
            Self::Opensearch => "opensearch",
            Self::Clickhouse => "clickhouse",
            Self::SqlServer => "microsoft.sql_server",
        }
    }
}

/// What was asked, in the system's own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Query<'a> {
    /// Nothing that has a text, or it was not captured.
    #[default]
    None,
    /// A statement of SQL, or of a language like it, as it was sent: it is summarised and freed of its literals by
    /// whoever exports it.
    Statement {
        /// As sent.
        text: &'a [u8],
        /// Its values came apart from it, so that it has none.
        parameterised: bool,
    },
    /// A command that the parser has already freed of values: "SET key ?".
    Command(&'a [u8]),
}

/// A call and its answer. "" and `None` are what is not known, or not there. Slices borrow from the parser's buffers.
#[derive(Clone, Copy, Debug)]
pub struct Db<'a> {
    /// db.system.name.
    pub system: DbSystem,
    /// db.namespace, in the form that the conventions give for the system.
    pub namespace: &'a [u8],
    /// db.operation.name: a command of the protocol. Never parsed out of a statement.
    pub operation: &'a [u8],
    /// db.collection.name. Never parsed out of a statement.
    pub collection: &'a [u8],
    /// db.query.text, and what db.query.summary is made of.
    pub query: Query<'a>,
    /// db.response.status_code: SQLSTATE, an error's number or its prefix.
    pub status: &'a [u8],
    /// `status` is an error's.
    pub failed: bool,
    /// db.operation.batch.size; 0 where it is no batch.
    pub batch_size: u32,
    /// db.response.returned_rows.
    pub returned_rows: Option<u64>,
    /// Bytes of the request on the wire.
    pub request_bytes: u64,
    /// Bytes of the response on the wire.
    pub response_bytes: u64,
    /// W3C traceparent where the call carries one (a comment of sqlcommenter, a payload of Cassandra), unchecked.
    pub traceparent: Option<&'a [u8]>,
    /// W3C tracestate.
    pub tracestate: Option<&'a [u8]>,
}

impl Db<'_> {
    /// A call of which nothing more is known.
    pub fn new(system: DbSystem) -> Self {
        Self {
            system,
            namespace: b"",
            operation: b"",
            collection: b"",
            query: Query::None,
            status: b"",
            failed: false,
            batch_size: 0,
            returned_rows: None,
            request_bytes: 0,
            response_bytes: 0,
            traceparent: None,
            tracestate: None,
        }
    }
}
