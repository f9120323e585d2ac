//! The command under way: takes its arguments as they come, and writes what may be told of them into its text.

use super::commands::{find, is_name, Argument, Command, Kind, MAX_NAME, UNKNOWN};
use super::Queue;
use memchr::memchr;

/// Longest text of a command, in bytes.
const MAX_TEXT: usize = 1024;
/// What stands for the rest of one that is longer.
const MORE: &[u8] = b" ...";
/// Longer first arguments of a container are not part of a command's name.
const MAX_SUBCOMMAND: usize = 24;
/// Longer arguments are no number and no known word.
const MAX_WORD: u64 = 20;

/// What is done with the argument under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    Name,
    Subcommand,
    Kept,
    Number,
    Word,
    /// CLIENT REPLY's.
    Reply,
    Nothing,
}

/// What CLIENT REPLY asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Off,
    Skip,
    On,
}

#[derive(Debug)]
pub(super) struct Building {
    pub start_ns: u64,
    /// On the wire so far.
    pub bytes: u64,
    pub command: &'static Command,
    /// Length of the operation's name, in front of the text.
    pub operation: u8,
    pub silence: Option<Silence>,
    /// Arguments, the name included, and the index of the next one.
    count: u64,
    index: u64,
    taking: Taking,
    /// Length of the text in front of the argument under way.
    before: usize,
    /// Arguments of which an earlier one says that they are keys: from here to there.
    named: Option<(u64, u64)>,
    /// No more is written.
    full: bool,
}

impl Building {
    pub(super) const fn new() -> Self {
        Self {
            start_ns: 0,
            bytes: 0,
            command: &UNKNOWN,
            operation: 0,
            silence: None,
            count: 0,
            index: 0,
            taking: Taking::Nothing,
            before: 0,
            named: None,
            full: false,
        }
    }

    /// A command begins.
    #[inline(always)]
    pub(super) fn begin(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
        self.bytes = 0;
        self.command = &UNKNOWN;
        self.operation = 0;
        self.silence = None;
        self.index = 0;
        self.named = None;
        self.full = false;
    }

    /// It will have so many arguments, its name included.
    #[inline(always)]
    pub(super) fn expect(&mut self, count: u64) {
        self.count = count;
    }

    /// Arguments to come.
    #[inline(always)]
    pub(super) fn left(&self) -> u64 {
        self.count.saturating_sub(self.index)
    }

    /// Arguments behind the name.
    pub(super) fn arguments(&self) -> u64 {
        self.count.saturating_sub(1)
    }

    /// An argument of so many bytes begins.
    #[inline(always)]
    pub(super) fn open(&mut self, len: u64, queue: &mut Queue) {
        let index = self.index;
        self.index += 1;
        if index == 0 {
            self.before = 0;
            self.full = len > MAX_NAME as u64;
            self.taking = if self.full {
                Taking::Nothing
            } else {
                Taking::Name
            };
            return;
        }
        if self.full {
            self.taking = Taking::Nothing;
            return;
        }
        self.before = queue.text().len();
        self.taking = match self.command.kind {
            Kind::Container | Kind::Client if index == 1 => {
                Self::taking(len <= MAX_SUBCOMMAND as u64, Taking::Subcommand)
            }
            Kind::Client if index == 2 && queue.text() == b"CLIENT REPLY" => {
                Self::taking(len <= MAX_WORD, Taking::Reply)
            }
            _ => match self.command.keep.argument(index, self.count, self.named) {
                Argument::Kept => Taking::Kept,
                Argument::Value => Taking::Nothing,
                Argument::Number => Self::taking(len <= MAX_WORD, Taking::Number),
                Argument::Word => Self::taking(len <= MAX_WORD, Taking::Word),
            },
        };
        let need = if self.taking == Taking::Nothing { 2 } else { 1 };
        if self.before + need + MORE.len() > MAX_TEXT {
            self.stop(queue);
        } else if self.taking == Taking::Nothing {
            queue.write(b" ?");
        } else {
            queue.write(b" ");
        }
    }

    fn taking(fits: bool, as_this: Taking) -> Taking {
        if fits {
            as_this
        } else {
            Taking::Nothing
        }
    }

    /// Bytes of the argument under way.
    #[inline(always)]
    pub(super) fn piece(&mut self, bytes: &[u8], queue: &mut Queue) {
        if self.taking == Taking::Nothing {
            return;
        }
        let room = (MAX_TEXT - MORE.len()).saturating_sub(queue.text().len());
        match bytes.get(..room) {
            Some(part) if part.len() < bytes.len() => {
                queue.write(part);
                self.stop_behind(queue);
            }
            _ => queue.write(bytes),
        }
    }

    /// Bytes of the argument under way went by unseen. False: nothing can be known of this command.
    pub(super) fn hole(&mut self, queue: &mut Queue) -> bool {
        match self.taking {
            Taking::Nothing => true,
            Taking::Name | Taking::Subcommand | Taking::Reply => false,
            _ => {
                queue.cut(self.before);
                self.full = true;
                self.taking = Taking::Nothing;
                true
            }
        }
    }

    /// The argument under way is whole. False: it is a name that can't be one.
    #[inline(always)]
    pub(super) fn close(&mut self, queue: &mut Queue) -> bool {
        match self.taking {
            Taking::Nothing | Taking::Kept => true,
            Taking::Name => {
                queue.text_mut().make_ascii_uppercase();
                let name = queue.text();
                self.command = find(name);
                self.operation = name.len() as u8;
                if !self.command.name.is_empty() || is_name(name) {
                    return true;
                }
                queue.cut(0);
                self.operation = 0;
                self.full = true;
                false
            }
            _ => {
                self.close_word(queue);
                true
            }
        }
    }

    fn close_word(&mut self, queue: &mut Queue) {
        let start = (self.before + 1).min(queue.text().len());
        let index = self.index - 1;
        let word = &mut queue.text_mut()[start..];
        let kept = match self.taking {
            Taking::Subcommand => {
                word.make_ascii_uppercase();
                let fits = is_name(word) && memchr(b'.', word).is_none();
                if fits {
                    self.operation = queue.text().len() as u8;
                }
                fits
            }
            Taking::Number => match number(word) {
                Some(keys) => {
                    self.named = Some((index + 1, (index + 1).saturating_add(keys)));
                    true
                }
                None => false,
            },
            Taking::Word => {
                let fits = word.eq_ignore_ascii_case(b"STREAMS");
                if fits {
                    word.make_ascii_uppercase();
                    let keys = (self.count - self.index) / 2;
                    self.named = Some((index + 1, index + 1 + keys));
                }
                fits
            }
            _ => {
                word.make_ascii_uppercase();
                self.silence = match &*word {
                    b"OFF" => Some(Silence::Off),
                    b"SKIP" => Some(Silence::Skip),
                    b"ON" => Some(Silence::On),
                    _ => None,
                };
                self.silence.is_some()
            }
        };
        if !kept {
            queue.cut(self.before);
            queue.write(b" ?");
        }
    }

    /// No more is written, and the text says so.
    #[cold]
    fn stop(&mut self, queue: &mut Queue) {
        queue.write(MORE);
        self.full = true;
        self.taking = Taking::Nothing;
    }

    /// The same within an argument.
    #[cold]
    fn stop_behind(&mut self, queue: &mut Queue) {
        queue.write(MORE.trim_ascii_start());
        self.full = true;
        self.taking = Taking::Nothing;
    }
}

/// A number without a sign.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}
