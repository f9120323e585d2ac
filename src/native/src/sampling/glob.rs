//! Globs as Python's fnmatchcase has them: `*`, `?`, `[a-z]`, `[!a-z]`; a slash is a character like others.

/// Whether all of `text` matches. At most as many steps as the product of both lengths.
pub fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut at, mut pos) = (0, 0);
    // where to go on if what follows the last star turns out not to match
    let mut retry = None;
    while pos < text.len() {
        if glob.get(at) == Some(&'*') {
            retry = Some((at, pos));
            at += 1;
            continue;
        }
        match one(&glob[at..], text[pos]) {
            Some(used) => {
                at += used;
                pos += 1;
            }
            None => {
                let Some((star, from)) = retry else {
                    return false;
                };
                retry = Some((star, from + 1));
                (at, pos) = (star + 1, from + 1);
            }
        }
    }
    glob[at..].iter().all(|c| *c == '*')
}

/// How much of the glob stands for this character; None: it does not.
fn one(glob: &[char], c: char) -> Option<usize> {
    match glob.first()? {
        '?' => Some(1),
        '[' => match class(glob, c) {
            Some((used, within)) => within.then_some(used),
            None => (c == '[').then_some(1),
        },
        other => (*other == c).then_some(1),
    }
}

/// Length of a class in brackets, and whether the character is in it. None: nothing closes it.
fn class(glob: &[char], c: char) -> Option<(usize, bool)> {
    let negated = glob.get(1) == Some(&'!');
    let first = 1 + usize::from(negated);
    // a bracket that comes first is a character
    let len = glob.get(first + 1..)?.iter().position(|c| *c == ']')? + 1;
    let mut set = &glob[first..first + len];
    let mut within = false;
    while let Some((low, rest)) = set.split_first() {
        (within, set) = match rest {
            ['-', high, rest @ ..] => (within || (*low..=*high).contains(&c), rest),
            _ => (within || *low == c, rest),
        };
    }
    Some((first + len + 1, within != negated))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn as_fnmatchcase() {
        for (glob, yes, no) in [
            ("*", &["", "a", "a/b"][..], &[][..]),
            ("", &[""], &["a"]),
            (
                "/health*",
                &["/health", "/healthz/live"],
                &["/Health", "a/health"],
            ),
            ("*/{id}", &["/users/{id}", "a/b/{id}"], &["/users/{id}/x"]),
            ("shop-?", &["shop-a", "shop-é"], &["shop-", "shop-ab"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "-x"]),
            ("[!a-c]x", &["dx", "-x"], &["ax"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[a", &["[a"], &["a"]),
            ("*a*b*c", &["abc", "xaxbxbc"], &["acb", "abcd"]),
            ("GET *", &["GET /x"], &["GET"]),
        ] {
            assert!(yes.iter().all(|text| matches(glob, text)), "{glob}");
            assert!(!no.iter().any(|text| matches(glob, text)), "{glob}");
        }
        // would take for ever if every star were tried against every place
        assert!(!matches(
            &"*a".repeat(50),
            &"a".repeat(5000).replace("aaaaaaaa", "b")
        ));
    }
}
