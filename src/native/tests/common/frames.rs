//! HTTP/2's frames as cases write them (tests/protocols/http2.yaml tells how), with nghttp2 to encode their fields.

use super::{Text, Writer};
use libnghttp2_sys as ffi;
use serde::Deserialize;
use std::ptr;

/// Bytes of the largest payload that is allowed before anybody says otherwise.
const MAX_PAYLOAD: usize = 1 << 14;
/// The deflaters' tables grow as large at most.
const MAX_TABLE: usize = 1 << 16;

const KINDS: &[&str] = &[
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];
const FLAGS: &[(&str, u32)] = &[
    ("END_STREAM", 0x1),
    ("ACK", 0x1),
    ("END_HEADERS", 0x4),
    ("PADDED", 0x8),
    ("PRIORITY", 0x20),
];
const ERRORS: &[&str] = &[
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];
const SETTINGS: &[&str] = &[
    "",
    "HEADER_TABLE_SIZE",
    "ENABLE_PUSH",
    "MAX_CONCURRENT_STREAMS",
    "INITIAL_WINDOW_SIZE",
    "MAX_FRAME_SIZE",
    "MAX_HEADER_LIST_SIZE",
];

/// What has a name in the RFC, or a number.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Code {
    Number(u32),
    Name(String),
}

impl Code {
    fn of(&self, names: &[&str]) -> u32 {
        match self {
            Self::Number(number) => *number,
            Self::Name(name) => {
                let at = names.iter().position(|known| known == name);
                at.unwrap_or_else(|| panic!("no such name: {name}")) as u32
            }
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    frame: Code,
    #[serde(default)]
    stream: u32,
    #[serde(default)]
    flags: Vec<Code>,
    /// Of HEADERS and PUSH_PROMISE.
    #[serde(default)]
    fields: Vec<(Text, Text)>,
    /// Whether the fields go into the dynamic table.
    #[serde(default = "yes")]
    index: bool,
    /// The encoder's new table size.
    table: Option<usize>,
    /// A header block as it is, in place of `fields`.
    block: Option<Box<Text>>,
    /// Where the block goes on in CONTINUATION: after so many bytes, each time.
    split: Option<usize>,
    pad: Option<u8>,
    #[serde(default)]
    priority: bool,
    /// Of PUSH_PROMISE.
    promised: Option<u32>,
    /// Of RST_STREAM and GOAWAY.
    error: Option<Code>,
    /// Of GOAWAY.
    last: Option<u32>,
    #[serde(default)]
    settings: Vec<(Code, u32)>,
    data: Option<Box<Text>>,
    /// What the header says, where that is not true.
    length: Option<usize>,
}

fn yes() -> bool {
    true
}

impl Frame {
    pub fn bytes(&self, writer: &mut Writer) -> Vec<u8> {
        let kind = self.frame.of(KINDS);
        let mut flags: u32 = self.flags.iter().map(flag).sum();
        let mut payload = Vec::new();
        if let Some(pad) = self.pad {
            flags |= 0x8;
            payload.push(pad);
        }
        if self.priority {
            flags |= 0x20;
            payload.extend_from_slice(&[0x80, 0, 0, 0, 15]);
        }
        if let Some(promised) = self.promised {
            payload.extend_from_slice(&promised.to_be_bytes());
        }
        if let Some(last) = self.last {
            payload.extend_from_slice(&last.to_be_bytes());
        }
        if let Some(error) = &self.error {
            payload.extend_from_slice(&error.of(ERRORS).to_be_bytes());
        }
        for (name, value) in &self.settings {
            payload.extend_from_slice(&(name.of(SETTINGS) as u16).to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        if let Some(data) = &self.data {
            payload.extend(data.bytes(writer));
        }
        let block = self.block(writer);
        let (first, rest) = block.split_at(self.split.unwrap_or(block.len()).min(block.len()));
        payload.extend_from_slice(first);
        payload.extend(std::iter::repeat_n(0, usize::from(self.pad.unwrap_or(0))));
        let mut bytes = self.with_header(kind, flags, &payload);
        let chunks = rest.chunks(self.split.unwrap_or(MAX_PAYLOAD));
        let last = chunks.len();
        for (at, fragment) in chunks.enumerate() {
            let end = if at + 1 == last { 0x4 } else { 0 };
            bytes.extend(self.with_header(9, end, fragment));
        }
        bytes
    }

    fn with_header(&self, kind: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
        let length = self.length.unwrap_or(payload.len()) as u32;
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[kind as u8, flags as u8]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn block(&self, writer: &mut Writer) -> Vec<u8> {
        if let Some(block) = &self.block {
            return block.bytes(writer);
        }
        if self.fields.is_empty() {
            return Vec::new();
        }
        let fields: Vec<(Vec<u8>, Vec<u8>)> = self
            .fields
            .iter()
            .map(|(name, value)| (name.bytes(writer), value.bytes(writer)))
            .collect();
        let deflater = writer.deflater.get_or_insert_with(Deflater::new);
        if let Some(size) = self.table {
            deflater.resize(size);
        }
        deflater.block(&fields, self.index)
    }
}

fn flag(code: &Code) -> u32 {
    match code {
        Code::Number(number) => *number,
        Code::Name(name) => {
            let known = FLAGS.iter().find(|(known, _)| known == name);
            known.unwrap_or_else(|| panic!("no such flag: {name}")).1
        }
    }
}

/// nghttp2's encoder: of one side, in one case.
pub struct Deflater(*mut ffi::nghttp2_hd_deflater);

impl Deflater {
    fn new() -> Self {
        let mut raw = ptr::null_mut();
        // SAFETY: a place for a pointer.
        let failed = unsafe { ffi::nghttp2_hd_deflate_new(&mut raw, MAX_TABLE) };
        assert_eq!(failed, 0);
        Self(raw)
    }

    fn resize(&mut self, size: usize) {
        // SAFETY: alive.
        let failed = unsafe { ffi::nghttp2_hd_deflate_change_table_size(self.0, size) };
        assert_eq!(failed, 0);
    }

    fn block(&mut self, fields: &[(Vec<u8>, Vec<u8>)], index: bool) -> Vec<u8> {
        let flags = if index {
            ffi::NGHTTP2_NV_FLAG_NONE
        } else {
            ffi::NGHTTP2_NV_FLAG_NO_INDEX
        };
        let pairs: Vec<ffi::nghttp2_nv> = fields
            .iter()
            .map(|(name, value)| ffi::nghttp2_nv {
                name: name.as_ptr().cast_mut(),
                value: value.as_ptr().cast_mut(),
                namelen: name.len(),
                valuelen: value.len(),
                flags: flags as u8,
            })
            .collect();
        // SAFETY: alive; the pairs and what they point at are readable, and only read.
        unsafe {
            let bound = ffi::nghttp2_hd_deflate_bound(self.0, pairs.as_ptr(), pairs.len());
            let mut block = vec![0; bound];
            let written = ffi::nghttp2_hd_deflate_hd(
                self.0,
                block.as_mut_ptr(),
                block.len(),
                pairs.as_ptr(),
                pairs.len(),
            );
            block.truncate(usize::try_from(written).expect("a block that is encoded"));
            block
        }
    }
}

impl Drop for Deflater {
    fn drop(&mut self) {
        // SAFETY: alive until here.
        unsafe { ffi::nghttp2_hd_deflate_del(self.0) };
    }
}
