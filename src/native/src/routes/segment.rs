//! What a path segment looks like, from its bytes alone.

/// What to make of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier: numbers, UUIDs, hashes, dates, e-mail addresses, tokens.
    Id,
    /// Cannot be a literal.
    Param,
    /// Reads like part of an API.
    Word,
    /// Could be a literal, smells of data: digits, many words in one.
    Odd,
    /// Not of the path: `*.ext`, `**`.
    Glob,
}

/// Longest literal of a route.
const MAX_LITERAL: usize = 64;
const MAX_WORD: usize = 24;

/// How many bytes of each class, in eight 8-bit lanes: one addition per byte.
#[derive(Clone, Copy)]
struct Counts(u64);

impl Counts {
    const DIGIT: u32 = 0;
    /// a-f, which may be part of a hexadecimal number; then the other lower-case letters.
    const LOWER_HEX: u32 = 8;
    const LOWER: u32 = 16;
    const UPPER_HEX: u32 = 24;
    const UPPER: u32 = 32;
    /// '-' and '_'.
    const SEPARATOR: u32 = 40;
    /// What RFC 3986 allows in a segment besides.
    const PUNCTUATION: u32 = 48;
    /// Percent-encoding and everything that has no place in a literal.
    const BAD: u32 = 56;

    fn of(segment: &[u8]) -> Self {
        Self(segment.iter().map(|b| CLASS[*b as usize]).sum())
    }

    fn get(self, class: u32) -> usize {
        (self.0 >> class) as usize & 0xff
    }
}

const CLASS: [u64; 256] = {
    let mut table = [1 << Counts::BAD; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        let class = match byte {
            b'0'..=b'9' => Counts::DIGIT,
            b'a'..=b'f' => Counts::LOWER_HEX,
            b'g'..=b'z' => Counts::LOWER,
            b'A'..=b'F' => Counts::UPPER_HEX,
            b'G'..=b'Z' => Counts::UPPER,
            b'-' | b'_' => Counts::SEPARATOR,
            b'.' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'+' | b',' | b':' | b'@'
            | b'=' => Counts::PUNCTUATION,
            _ => Counts::BAD,
        };
        table[i] = 1 << class;
        i += 1;
    }
    table
};

/// The kind of one segment, which is not empty.
pub fn classify(segment: &[u8]) -> Kind {
    let len = segment.len();
    if len > MAX_LITERAL {
        return Kind::Param;
    }
    let counts = Counts::of(segment);
    if counts.get(Counts::BAD) > 0 {
        return if segment == b"{id}" {
            Kind::Id
        } else {
            Kind::Param
        };
    }
    let digits = counts.get(Counts::DIGIT);
    if digits == len {
        return Kind::Id;
    }
    let separators = counts.get(Counts::SEPARATOR);
    let punctuation = counts.get(Counts::PUNCTUATION);
    if punctuation > 0 && segment.contains(&b'@') {
        return Kind::Id;
    }
    let lower = counts.get(Counts::LOWER) + counts.get(Counts::LOWER_HEX);
    let upper = counts.get(Counts::UPPER) + counts.get(Counts::UPPER_HEX);
    if digits > 0 && is_id(counts, len, digits, separators, punctuation, lower, upper) {
        return Kind::Id;
    }
    if len >= 32 && separators == 0 && lower >= 4 && upper >= 4 {
        return Kind::Id;
    }
    let one_dot = punctuation == 0 || (punctuation == 1 && segment.contains(&b'.'));
    if digits > 0 || len > MAX_WORD || separators >= 3 || !one_dot {
        Kind::Odd
    } else {
        Kind::Word
    }
}

fn is_id(
    counts: Counts,
    len: usize,
    digits: usize,
    separators: usize,
    punctuation: usize,
    lower: usize,
    upper: usize,
) -> bool {
    if lower + upper == 0 {
        // Dates, coordinates, telephone numbers; but not the version in /api/1.0/.
        return !(len <= 4 && punctuation == 1 && separators == 0);
    }
    let hex_only = counts.get(Counts::LOWER) + counts.get(Counts::UPPER) + punctuation == 0;
    (hex_only && len - separators >= 8 && (separators == 0 || digits >= 2))
        || digits >= 4
        || (digits >= 3 && separators > 0)
        || (len >= 20
            && ((digits >= 2 && upper >= 3 && lower >= 3)
                || (digits >= 2 && upper == 0 && separators + punctuation == 0)
                || (lower == 0 && separators + punctuation == 0)))
}

const ASSETS: [(&[u8], &str); 28] = [
    (b"js", "*.js"),
    (b"mjs", "*.mjs"),
    (b"css", "*.css"),
    (b"map", "*.map"),
    (b"png", "*.png"),
    (b"jpg", "*.jpg"),
    (b"jpeg", "*.jpeg"),
    (b"gif", "*.gif"),
    (b"svg", "*.svg"),
    (b"webp", "*.webp"),
    (b"avif", "*.avif"),
    (b"ico", "*.ico"),
    (b"woff", "*.woff"),
    (b"woff2", "*.woff2"),
    (b"ttf", "*.ttf"),
    (b"otf", "*.otf"),
    (b"eot", "*.eot"),
    (b"mp3", "*.mp3"),
    (b"mp4", "*.mp4"),
    (b"webm", "*.webm"),
    (b"m3u8", "*.m3u8"),
    (b"ts", "*.ts"),
    (b"pdf", "*.pdf"),
    (b"wasm", "*.wasm"),
    (b"zip", "*.zip"),
    (b"gz", "*.gz"),
    (b"deb", "*.deb"),
    (b"whl", "*.whl"),
];

/// `*.ext` for the name of a file that is served as it is.
pub fn asset(segment: &[u8]) -> Option<&'static str> {
    let tail = &segment[segment.len().saturating_sub(6)..];
    let dot = tail.iter().rposition(|b| *b == b'.')?;
    let extension = &tail[dot + 1..];
    ASSETS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(extension))
        .map(|(_, glob)| *glob)
}
