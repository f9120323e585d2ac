//! What a client says.

use super::half::{Message, Place};
use super::message::{self, Startup, MAX_NAME, MAX_TEXT, STARTUP};
use super::queue::{Item, Kind, Step, Text};
use super::Connection;

impl Connection {
    /// Takes a message of the client. False: nobody knows any longer what it has asked.
    pub(super) fn ask(&mut self, message: Message, mut payload: &[u8]) -> bool {
        let (start_ns, bytes) = (message.start_ns, message.bytes);
        match message.kind {
            STARTUP => return self.start(message, payload),
            b'S' if self.copies_in => return true, // not while it sends data
            b'S' => {
                self.skips = false;
                let item = Item::new(Kind::Sync, start_ns, Text::Unknown, bytes);
                return self.queue.push(item);
            }
            b'c' | b'f' => {
                self.copies_in = false;
                return true;
            }
            b'd' | b'p' | b'H' | b'X' => return true,
            _ if self.skips => return true,
            _ => {}
        }
        self.pipelines |= self.queue.units() > 0;
        match message.kind {
            b'Q' => {
                self.statements.close_unnamed();
                let mut text = self.spare.take().unwrap_or_default();
                text.clear();
                text.extend_from_slice(text_of(payload));
                let whole = payload.get(text.len()) == Some(&0);
                let mut item = Item::new(Kind::Query, start_ns, Text::Query(text), bytes);
                item.whole = whole;
                self.queue.push(item)
            }
            b'F' => {
                let item = Item::new(Kind::Function, start_ns, Text::Unknown, bytes);
                self.queue.push(item)
            }
            b'P' => {
                let statement = match message::string(&mut payload) {
                    Some(name) => Some(self.statements.prepare(name, text_of(payload))),
                    None => {
                        // it has some name that stood for nothing before, or none
                        self.statements.close_unnamed();
                        None
                    }
                };
                self.queue.step(Step::Parse, statement, start_ns, bytes)
            }
            b'B' => {
                let portal = message::string(&mut payload);
                let statement = portal.and_then(|_| message::string(&mut payload));
                let parameterised = statement.is_some() && has_parameters(payload);
                let bound = self.statements.bind(portal, statement, parameterised);
                self.queue.step(Step::Bind, bound, start_ns, bytes)
            }
            b'D' => {
                let named = named(payload);
                let described = match named {
                    Some((b'S', name)) => self.statements.get(name),
                    Some((_, name)) => self.statements.portal(name).statement,
                    None => None,
                };
                self.queue.step(Step::Describe, described, start_ns, bytes)
            }
            b'C' => {
                match named(payload) {
                    Some((b'S', name)) => self.statements.close(name),
                    Some((_, name)) => self.statements.close_portal(name),
                    None => self.statements.forget(),
                }
                self.queue.step(Step::Close, None, start_ns, bytes)
            }
            b'E' => {
                let name = message::string(&mut payload);
                let portal = name.map(|name| self.statements.portal(name));
                let portal = portal.unwrap_or_default();
                let whole = self
                    .queue
                    .step(Step::Execute, portal.statement, start_ns, bytes);
                self.queue.whole(portal.parameterised, portal.first);
                whole
            }
            _ => true,
        }
    }

    /// The client's first message.
    fn start(&mut self, message: Message, payload: &[u8]) -> bool {
        match message::startup(payload) {
            Some(Startup::Session(database)) => {
                self.database = database.into();
                self.confirmed = true;
                let item = Item::new(
                    Kind::Session,
                    message.start_ns,
                    Text::Unknown,
                    message.bytes,
                );
                self.queue.push(item)
            }
            Some(Startup::Cancel) => {
                self.request.restart(Place::Shut);
                true
            }
            Some(Startup::Encryption) => {
                self.request.restart(Place::Startup);
                self.response.restart(Place::Reply);
                true
            }
            None => false,
        }
    }
}

/// A statement's text, up to its NUL.
fn text_of(payload: &[u8]) -> &[u8] {
    let most = payload.get(..MAX_TEXT).unwrap_or(payload);
    most.get(..memchr::memchr(0, most).unwrap_or(most.len()))
        .unwrap_or_default()
}

/// What Describe and Close are about: 'S' and a statement's name, or 'P' and a portal's.
fn named(payload: &[u8]) -> Option<(u8, &[u8])> {
    let (&kind, mut rest) = payload.split_first()?;
    let name = message::string(&mut rest)?;
    (name.len() <= MAX_NAME).then_some((kind, name))
}

/// Of Bind, what is behind the names: formats of the parameters, their number and they.
fn has_parameters(mut payload: &[u8]) -> bool {
    let Some(formats) = message::int16(&mut payload) else {
        return false;
    };
    match payload.get(2 * usize::from(formats)..) {
        Some(mut rest) => message::int16(&mut rest).is_some_and(|count| count > 0),
        None => formats > 1, // which is one of each parameter
    }
}
