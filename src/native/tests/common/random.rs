//! Random changes of cases, the same each time.

use super::{cases, Step, Timed};
use _native::exchange::{End, Side};

/// xorshift64*: enough for choices, and no dependency.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

pub const ENDS: &[End] = &[
    End::Fin(Side::Request),
    End::Fin(Side::Response),
    End::Closed,
    End::Broken(104),
    End::Broken(110),
    End::ProcessExit,
    End::Lost,
];

fn mutate_bytes(bytes: &mut Vec<u8>, words: &[&[u8]], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(6) {
        0 if at < bytes.len() => bytes[at] = random.next() as u8,
        1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 => {
            let end = (at + random.below(20)).min(bytes.len());
            bytes.drain(at..end);
        }
        3 => {
            let end = (at + random.below(60)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        _ => {
            bytes.splice(at..at, random.pick(words).iter().copied());
        }
    }
}

/// Changes something; `words` are what bytes may be of.
fn mutate(steps: &mut Vec<Timed>, words: &[&[u8]], gaps: bool, random: &mut Random) {
    let at = random.below(steps.len() + 1);
    match random.below(10) {
        0 if !steps.is_empty() && at < steps.len() => {
            steps.remove(at);
        }
        1 if at < steps.len() => {
            let copy = steps[at].clone();
            steps.insert(random.below(steps.len() + 1), copy);
        }
        2 => steps.insert(at, (0, Step::End(*random.pick(ENDS)))),
        3 if gaps => {
            let side = *random.pick(&[Side::Request, Side::Response]);
            let shift = random.below(64);
            steps.insert(at, (0, Step::Gap(side, random.next() >> shift)));
        }
        4 if at < steps.len() => {
            let other = random.below(steps.len());
            steps.swap(at, other);
        }
        _ => {
            if let Some((_, Step::Data(_, bytes))) = steps.get_mut(at) {
                mutate_bytes(bytes, words, random);
            }
        }
    }
}

/// The steps of a protocol's cases without pieces that are longer than `most` bytes.
pub fn seeds(protocol: &str, most: usize) -> Vec<Vec<Timed>> {
    let small = |(_, step): &Timed| !matches!(step, Step::Data(_, bytes) if bytes.len() > most);
    cases(protocol)
        .into_iter()
        .map(|case| case.steps)
        .filter(|steps| steps.iter().all(small))
        .collect()
}

/// One of the seeds, or two of them one after the other, with something changed. Without `gaps` nothing is lost.
pub fn mutated(
    seeds: &[Vec<Timed>],
    words: &[&[u8]],
    gaps: bool,
    random: &mut Random,
) -> Vec<Timed> {
    let mut steps = random.pick(seeds).clone();
    if random.below(3) == 0 {
        steps.extend(random.pick(seeds).clone());
    }
    for _ in 0..=random.below(6) {
        mutate(&mut steps, words, gaps, random);
    }
    if !gaps {
        steps.retain(|(_, step)| !matches!(step, Step::Gap(..) | Step::End(End::Lost)));
    }
    steps
        .iter_mut()
        .enumerate()
        .for_each(|(index, step)| step.0 = index);
    steps
}
