//! `db.query.text`: the source without comments, with a `?` for each literal.
//!
//! A list behind IN that is nothing but literals becomes `(?)`, however long it is. Whitespace stays, except at
//! both ends.

use sqlparser::keywords::Keyword;

use super::lex::{Kind, Lexed, Piece};
use super::{cut_to, MAX_BYTES};

/// What stands in a literal's place.
const PLACEHOLDER: char = '?';

pub(super) fn sanitise(source: &str, lexed: &Lexed) -> String {
    let mut out = String::with_capacity(source.len());
    let mut list = List::None;
    for (index, piece) in lexed.pieces.iter().enumerate() {
        let slice = piece.of(source);
        let masked = match piece.kind {
            Kind::Literal | Kind::Number => true,
            Kind::Doubtful => !is_qualified(&lexed.pieces, index),
            Kind::Comment => {
                let behind = source[piece.end..].starts_with(|c: char| !c.is_whitespace());
                if behind && out.ends_with(|c: char| !c.is_whitespace()) {
                    out.push(' ');
                }
                continue;
            }
            _ => false,
        };
        list = list.next(piece.kind, masked || slice == "?", &out);
        if let (List::Items { start, any: true }, Kind::Close) = (list, piece.kind) {
            out.truncate(start);
            out.push(PLACEHOLDER);
            list = List::None;
        }
        if masked {
            out.push(PLACEHOLDER);
        } else {
            out.push_str(slice);
        }
    }
    if lexed.has_rest {
        out.push(PLACEHOLDER);
    }
    let trimmed = out.trim();
    if trimmed.len() < out.len() {
        out = trimmed.to_owned();
    }
    cut_to(out, MAX_BYTES)
}

/// Part of `"a"."b"`, which no string can be.
fn is_qualified(pieces: &[Piece], index: usize) -> bool {
    let is_period = |piece: Option<&Piece>| piece.is_some_and(|p| p.kind == Kind::Period);
    is_period(pieces.get(index + 1))
        || is_period(index.checked_sub(1).and_then(|before| pieces.get(before)))
}

/// Where in `IN (1, 2)` the text is.
#[derive(Clone, Copy)]
enum List {
    None,
    In,
    Items { start: usize, any: bool },
}

impl List {
    fn next(self, kind: Kind, is_literal: bool, out: &str) -> Self {
        match (self, kind) {
            (_, Kind::Word(Keyword::IN)) => Self::In,
            (same, Kind::Space) => same,
            (Self::In, Kind::Open) => Self::Items {
                start: out.len() + 1,
                any: false,
            },
            (Self::Items { start, .. }, _) if is_literal => Self::Items { start, any: true },
            (same @ Self::Items { any: true, .. }, Kind::Comma | Kind::Close) => same,
            _ => Self::None,
        }
    }
}
