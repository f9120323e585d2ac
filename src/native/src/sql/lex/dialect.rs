//! How sqlparser is to read each dialect. Its own dialects also know grammar; these know only what servers document
//! of their lexers, with extensions off that would move tokens away from their places in the source.

use std::any::TypeId;

use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect, SnowflakeDialect};

use crate::sql::Dialect;

impl sqlparser::dialect::Dialect for Dialect {
    /// What sqlparser asks by type: `//` comments are Snowflake's there, a lone CR ends a comment in PostgreSQL,
    /// and all but the first know `b'…'`.
    fn dialect(&self) -> TypeId {
        match self {
            Self::Cassandra => TypeId::of::<SnowflakeDialect>(),
            Self::Postgresql => TypeId::of::<PostgreSqlDialect>(),
            _ => TypeId::of::<MySqlDialect>(),
        }
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        match self {
            Self::Mysql => matches!(ch, '$' | '@' | '_') || is_letter(ch),
            // Letters alone: `€12` is money in Transact-SQL.
            Self::SqlServer => matches!(ch, '#' | '@' | '_') || ch.is_alphabetic(),
            Self::Generic => matches!(ch, '@' | '_') || ch.is_alphabetic(),
            Self::Postgresql | Self::Cassandra | Self::Clickhouse | Self::Sqlite => {
                ch == '_' || is_letter(ch)
            }
        }
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_ascii_digit()
            || sqlparser::dialect::Dialect::is_identifier_start(self, ch)
            || (ch == '$' && *self != Self::Cassandra)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        match self {
            Self::Mysql => ch == '`',
            Self::Postgresql | Self::Cassandra => ch == '"',
            Self::Clickhouse | Self::Generic => matches!(ch, '"' | '`'),
            Self::SqlServer => matches!(ch, '"' | '['),
            Self::Sqlite => matches!(ch, '"' | '`' | '['),
        }
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        matches!(self, Self::Mysql | Self::Clickhouse)
    }

    fn supports_national_string_literal(&self) -> bool {
        matches!(
            self,
            Self::Generic | Self::Postgresql | Self::Mysql | Self::SqlServer
        )
    }

    fn supports_unicode_string_literal(&self) -> bool {
        matches!(self, Self::Generic | Self::Postgresql)
    }

    fn supports_string_escape_constant(&self) -> bool {
        matches!(self, Self::Generic | Self::Postgresql)
    }

    /// Oracle's `q'[…]'`.
    fn supports_quote_delimited_string(&self) -> bool {
        *self == Self::Generic
    }

    /// Where `$` starts no string.
    fn supports_dollar_placeholder(&self) -> bool {
        matches!(self, Self::SqlServer | Self::Sqlite)
    }

    fn supports_dollar_as_money_prefix(&self) -> bool {
        *self == Self::SqlServer
    }

    fn supports_nested_comments(&self) -> bool {
        matches!(self, Self::Postgresql | Self::SqlServer)
    }

    fn requires_single_line_comment_whitespace(&self) -> bool {
        *self == Self::Mysql
    }

    fn supports_hash_comment(&self) -> bool {
        matches!(self, Self::Mysql | Self::Clickhouse)
    }

    fn requires_hash_comment_space(&self) -> bool {
        *self == Self::Clickhouse
    }
}

fn is_letter(ch: char) -> bool {
    ch.is_ascii_alphabetic() || (!ch.is_ascii() && !ch.is_whitespace() && !ch.is_control())
}
