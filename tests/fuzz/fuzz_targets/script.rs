//! What a parser is fed with, read off the fuzzer's input: one byte says what comes next, one how long it is, then its
//! bytes.
//!
//! ```text
//! 0b..00 len bytes   client    0b..01 len bytes   server    0b..10 n   gap    0b..11   end
//! ```

use _native::exchange::{End, Side};

pub enum Step<'a> {
    Data(Side, &'a [u8]),
    Gap(Side, u64),
    End(End),
}

pub fn script(mut input: &[u8]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    while let [what, len, rest @ ..] = input {
        let side = if what & 4 == 0 {
            Side::Request
        } else {
            Side::Response
        };
        input = rest;
        match what & 3 {
            0 | 1 => {
                let side = if what & 3 == 0 {
                    Side::Request
                } else {
                    Side::Response
                };
                let len = (usize::from(*len) | usize::from(what >> 2) << 8).min(rest.len());
                let (data, after) = rest.split_at(len);
                steps.push(Step::Data(side, data));
                input = after;
            }
            2 => steps.push(Step::Gap(side, u64::from(*len) << (what >> 3))),
            _ => steps.push(Step::End(match len % 7 {
                0 => End::Fin(Side::Request),
                1 => End::Fin(Side::Response),
                2 => End::Closed,
                3 => End::Broken(104),
                4 => End::Broken(110),
                5 => End::ProcessExit,
                _ => End::Lost,
            })),
        }
    }
    steps
}
