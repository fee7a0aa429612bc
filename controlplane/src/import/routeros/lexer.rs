//! An `/export` as commands: menu, verb, target, properties.
//!
//! Lines that end in a backslash go on, strings have RouterOS's escapes, `[ find … ]` is one word.
//! What makes no sense is reported and loses no other line; nothing is carried out.

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Command {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// Its menu, words separated by blanks: `ppp secret`.
    pub(super) menu: String,
    /// `add`, `set`, or another; empty for a line that only names a menu.
    pub(super) verb: String,
    /// What it is done to: a number, a name, or what stands in `[ ]`.
    pub(super) target: Option<String>,
    /// `key=value`.
    pub(super) properties: Vec<(String, String)>,
    /// `!key`.
    pub(super) unset: Vec<String>,
}

const VERBS: [&str; 12] = [
    "add", "set", "remove", "enable", "disable", "move", "unset", "print", "export", "reset",
    "comment", "edit",
];

/// All commands of an export, and the lines that make no sense with the reason.
pub(super) fn commands(bytes: &[u8]) -> (Vec<Command>, Vec<(usize, String)>) {
    let (mut commands, mut bad) = (Vec::new(), Vec::new());
    let mut menu = String::new();
    for (line, text) in logical_lines(bytes) {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        match words(text).and_then(|words| command(line, &words, &mut menu)) {
            Ok(command) if command.verb.is_empty() => {}
            Ok(command) => commands.push(command),
            Err(reason) => bad.push((line, reason)),
        }
    }
    (commands, bad)
}

/// Lines put together, each with the number of its first.
fn logical_lines(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if goes_on { line.trim_ascii_start() } else { line };
        let slashes = line.iter().rev().take_while(|byte| **byte == b'\\').count();
        let continues = slashes % 2 == 1;
        let text = if continues { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some((_, before)) if goes_on => before.extend_from_slice(text),
            _ => lines.push((number, text.to_vec())),
        }
        goes_on = continues;
    }
    lines
}

enum Word {
    Plain(String),
    Pair(String, String),
    Find(String),
}

/// Splits a line. A word may be text, `key=value` with either part in quotes, or `[ … ]`.
fn words(line: &[u8]) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            b' ' | b'\t' => at += 1,
            b'[' => {
                let (text, next) = bracketed(line, at)?;
                words.push(Word::Find(text));
                at = next;
            }
            _ => {
                let (key, next) = text(line, at, true)?;
                if line.get(next) == Some(&b'=') {
                    let (value, next) = match line.get(next + 1) {
                        Some(b'[') => bracketed(line, next + 1)?,
                        _ => text(line, next + 1, false)?,
                    };
                    words.push(Word::Pair(key, value));
                    at = next;
                } else {
                    words.push(Word::Plain(key));
                    // What ends a word is skipped, or this would never end.
                    at = next.max(at + 1);
                }
            }
        }
    }
    Ok(words)
}

/// What stands between `[` and its `]`, which may hold further ones.
fn bracketed(line: &[u8], start: usize) -> Result<(String, usize), String> {
    let (mut depth, mut quoted, mut at) = (0_usize, false, start);
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            b'[' if !quoted => depth += 1,
            b']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    let inside = String::from_utf8_lossy(&line[start + 1..at]);
                    return Ok((inside.trim().to_owned(), at + 1));
                }
            }
            _ => {}
        }
        at += 1;
    }
    Err("has a `[` that is not closed".to_owned())
}

/// Text up to a blank (or `=`, in a key), parts of it in quotes.
fn text(line: &[u8], mut at: usize, is_key: bool) -> Result<(String, usize), String> {
    let mut bytes = Vec::new();
    let mut quoted = false;
    while let Some(&byte) = line.get(at) {
        at += 1;
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => at = escape(line, at, &mut bytes)?,
            b' ' | b'\t' if !quoted => break,
            b'=' if !quoted && is_key => {
                at -= 1;
                break;
            }
            _ => bytes.push(byte),
        }
    }
    if quoted {
        return Err("has a quote that is not closed".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    Ok((text, at))
}

/// What a backslash means; `at` is behind it.
fn escape(line: &[u8], at: usize, into: &mut Vec<u8>) -> Result<usize, String> {
    let hex = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let &byte = line.get(at).ok_or("ends in a backslash")?;
    if let (Some(high), Some(low)) = (hex(line.get(at)), hex(line.get(at + 1)))
        && !byte.is_ascii_lowercase()
    {
        into.push(u8::try_from(high * 16 + low).unwrap_or_default());
        return Ok(at + 2);
    }
    into.push(match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'v' => 11,
        b'_' => b' ',
        other => other,
    });
    Ok(at + 1)
}

fn command(line: usize, words: &[Word], menu: &mut String) -> Result<Command, String> {
    let mut rest = words.iter().peekable();
    if let Some(Word::Plain(first)) = rest.peek()
        && let Some(path) = first.strip_prefix('/')
    {
        rest.next();
        // RouterOS 7 takes `/ppp/secret/add` for `/ppp secret add`.
        let mut path: Vec<String> = path.split('/').map(str::to_owned).collect();
        while let Some(Word::Plain(word)) = rest.peek()
            && !path.last().is_some_and(|last| VERBS.contains(&last.as_str()))
            && !VERBS.contains(&word.as_str())
        {
            path.push(word.clone());
            rest.next();
        }
        let verb = path.pop_if(|last| VERBS.contains(&last.as_str()));
        path.retain(|word| !word.is_empty());
        *menu = path.join(" ");
        if let Some(verb) = verb {
            return arguments(line, menu, verb, rest);
        }
    }
    match rest.next() {
        None => Ok(Command { line, menu: menu.clone(), ..Command::default() }),
        Some(Word::Plain(verb)) => arguments(line, menu, verb.clone(), rest),
        Some(_) => Err("does not begin with a command".to_owned()),
    }
}

fn arguments<'a>(
    line: usize,
    menu: &str,
    verb: String,
    words: impl Iterator<Item = &'a Word>,
) -> Result<Command, String> {
    let mut command = Command { line, menu: menu.to_owned(), verb, ..Command::default() };
    for word in words {
        match word {
            Word::Pair(key, value) => command.properties.push((key.clone(), value.clone())),
            Word::Plain(word) => match word.strip_prefix('!') {
                Some(key) => command.unset.push(key.to_owned()),
                None if command.target.is_none() => command.target = Some(word.clone()),
                None => return Err(format!("`{word}` stands where nothing is expected")),
            },
            Word::Find(found) => command.target = Some(format!("[{found}]")),
        }
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_go_on_and_strings_are_unescaped() {
        let text = "# by RouterOS\r\n/ppp secret\r\nadd name=\"iv an\" \\\r\n    \
                    password=\"a\\\"b\\\\\\D0\\BF\\24\\_x\" comment=\"one \\\r\n    two\"\r\n\
                    /interface/pptp-client/add name=x !user\nset [ find name=\"[a]\" ] a=b\n";
        let (commands, bad) = commands(text.as_bytes());
        assert_eq!(bad, []);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!((commands[0].line, commands[0].menu.as_str()), (3, "ppp secret"));
        assert_eq!(
            commands[0].properties,
            [pair("name", "iv an"), pair("password", "a\"b\\п$ x"), pair("comment", "one two")]
        );
        assert_eq!(
            (commands[1].menu.as_str(), commands[1].verb.as_str()),
            ("interface pptp-client", "add")
        );
        assert_eq!(commands[1].unset, ["user"]);
        assert_eq!(commands[2].target.as_deref(), Some("[find name=\"[a]\"]"));
    }

    #[test]
    fn what_makes_no_sense_is_named_and_loses_no_other_line() {
        let text = b"/ppp secret\nadd name=\"open\nadd [ find\nadd a b c\nadd name=\\\n=x\nadd name=\xff\nadd name=good";
        let (commands, bad) = commands(text);
        assert_eq!(commands.last().unwrap().properties[0].1, "good");
        let said: String = bad.iter().map(|(line, why)| format!("{line}: {why}\n")).collect();
        insta::assert_snapshot!(said, @r"
        2: has a quote that is not closed
        3: has a `[` that is not closed
        4: `b` stands where nothing is expected
        7: is not UTF-8
        ");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = commands(&bytes);
        }

        #[test]
        fn no_text_of_its_letters_panics(text in "[a-c/ =\"\\\\\\[\\]\n!#0-9]{0,60}") {
            let _ = commands(text.as_bytes());
        }

        #[test]
        fn what_is_quoted_is_read_as_it_was(value in "[^\\x00-\\x1f]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let (commands, bad) = commands(format!("/ppp secret add name=\"{quoted}\"").as_bytes());
            prop_assert_eq!(bad, vec![]);
            prop_assert_eq!(&commands[0].properties[0].1, &value);
        }
    }
}
