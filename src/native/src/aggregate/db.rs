//! What is said of a database's call (semantic conventions 1.44, docs/db/database-spans.md).

use super::calls::{Area, Said, Slots};
use super::origin::Origin;
use crate::exchange::{Db, DbSystem, ErrorKind, Query, Role};
use crate::otlp::{Kind, Value};
use crate::sql::{Dialect, Statement};

/// How its statements are written.
pub fn dialect(system: DbSystem) -> Dialect {
    match system {
        DbSystem::Postgresql => Dialect::Postgresql,
        DbSystem::Mysql | DbSystem::Mariadb => Dialect::Mysql,
        DbSystem::Cassandra => Dialect::Cassandra,
        DbSystem::Clickhouse => Dialect::Clickhouse,
        DbSystem::SqlServer => Dialect::SqlServer,
        DbSystem::Redis
        | DbSystem::Mongodb
        | DbSystem::Memcached
        | DbSystem::Elasticsearch
        | DbSystem::Opensearch => Dialect::Generic,
    }
}

/// `statement`: of `Query::Statement`.
pub fn said<'a>(
    db: &Db<'a>,
    statement: Option<&'a Statement>,
    error: Option<ErrorKind>,
    role: Role,
    server: Option<&'a Origin>,
) -> Said<'a> {
    let summary = statement.map_or(&b""[..], |statement| statement.summary.as_bytes());
    let mut slots = Slots::new();
    slots
        .text("db.system.name", db.system.as_str().as_bytes())
        .text("db.namespace", db.namespace)
        .text("db.operation.name", db.operation)
        .text("db.collection.name", db.collection)
        .text("db.query.summary", summary)
        .text("db.response.status_code", db.status);
    super::calling::put_server(&mut slots, server);
    // the database's name tells calls apart where nothing better does; Redis' is a number
    let target = match (db.collection, db.system) {
        (b"", DbSystem::Redis | DbSystem::Memcached) => b"",
        (b"", _) if !db.operation.is_empty() => db.namespace,
        (collection, _) => collection,
    };
    Said {
        area: Area::Db,
        role,
        kind: match role {
            Role::Server => Kind::Server,
            Role::Client => Kind::Client,
        },
        system: db.system.as_str(),
        name: if summary.is_empty() {
            [db.operation, target]
        } else {
            [summary, b""]
        },
        slots,
        error_type: match error {
            _ if db.failed => db.status,
            Some(error) => error.as_str().as_bytes(),
            None => b"",
        },
        messages: 0,
    }
}

/// db.query.text.
pub fn query_text<'a>(db: &Db<'a>, statement: Option<&'a Statement>) -> &'a [u8] {
    match (db.query, statement) {
        (Query::Command(text), _) => text,
        (Query::Statement { .. }, Some(statement)) => statement.text.as_bytes(),
        _ => b"",
    }
}

/// Attributes of the span alone.
pub fn own<'a>(db: &Db<'_>, query_text: &'a [u8]) -> Slots<'a> {
    let mut own = Slots::new();
    let batch = Some(db.batch_size).filter(|size| *size > 1);
    own.put("db.query.text", Value::Text(query_text))
        .int("db.operation.batch.size", batch.map(u64::from))
        .int("db.response.returned_rows", db.returned_rows);
    own
}
