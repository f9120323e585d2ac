//! What is spoken on top of HTTP, as far as a response tells by itself.

/// A server that says in each response what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Elasticsearch, from 7.14 on.
    Elasticsearch,
    /// OpenSearch, from 2.9 on.
    Opensearch,
    /// ClickHouse's HTTP interface.
    Clickhouse,
    /// Amazon S3, and what takes its place.
    S3,
}

impl Product {
    /// Of a response's header, its name in lower case.
    pub fn of_header(name: &[u8]) -> Option<Self> {
        match name {
            b"x-elastic-product" => Some(Self::Elasticsearch),
            b"x-opensearch-version" => Some(Self::Opensearch),
            b"x-clickhouse-summary" | b"x-clickhouse-query-id" => Some(Self::Clickhouse),
            b"x-amz-id-2" => Some(Self::S3),
            _ => None,
        }
    }
}
