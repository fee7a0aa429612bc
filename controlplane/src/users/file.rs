//! The users-file: pppd's chap-secrets, one user a line: `client server secret [address]`.
//!
//! Words are separated by blanks, quoted by `"` or `'`, a backslash takes the next character as it
//! is, `#` begins a comment. A line that makes no sense is reported and loses no other line. The
//! passwords stand there in the clear, so CHAP-MD5 works for these users as it does with pppd. What
//! only pppd can mean (`*` as client, secrets in other files) is refused.

use std::net::Ipv4Addr;

use protocol::ppp::auth::Credential;
use zeroize::Zeroizing;

use super::MAX_NAME;
use super::secret::User;
use crate::config::is_for_hosts;
use crate::terms::RemoteAddress;

/// A line that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// Why. Never holds a secret.
    pub reason: String,
}

/// The users of a file, each with the number of its line, and the lines that make no sense.
#[must_use]
pub fn parse(bytes: &[u8]) -> (Vec<(usize, User)>, Vec<BadLine>) {
    let mut users = Vec::new();
    let mut bad = Vec::new();
    for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let parsed = std::str::from_utf8(bytes)
            .map_err(|_| "is not UTF-8".to_owned())
            .and_then(|text| words(text.trim_end_matches('\r')))
            .and_then(|words| user(&words));
        match parsed {
            Ok(Some(user)) => users.push((line, user)),
            Ok(None) => {}
            Err(reason) => bad.push(BadLine { line, reason }),
        }
    }
    (users, bad)
}

fn user(words: &[Zeroizing<String>]) -> Result<Option<User>, String> {
    let (name, secret, address) = match words {
        [] => return Ok(None),
        [name, _server, secret] => (name, secret, None),
        [name, _server, secret, address] => (name, secret, Some(address.as_str())),
        [_, _, _, _, _, ..] => return Err("gives more than one address".to_owned()),
        _ => return Err("is not `client server secret [address]`".to_owned()),
    };
    if name.as_str() == "*" {
        return Err("`*` as client: name each user".to_owned());
    }
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(format!("a name has 1 to {MAX_NAME} bytes and no control characters"));
    }
    if secret.is_empty() {
        return Err("has no password: whoever knows the name could log in".to_owned());
    }
    if secret.starts_with('@') || secret.starts_with('&') {
        return Err("secrets in other files are not supported".to_owned());
    }
    let remote_address: Option<Ipv4Addr> = match address {
        None | Some("*") => None,
        Some("-") => return Err("`-` allows no address: leave the user out".to_owned()),
        Some(text) => {
            let address = text.parse().map_err(|_| format!("`{text}` is no IPv4 address"))?;
            if !is_for_hosts(address) {
                return Err(format!("no host can have the address {address}"));
            }
            Some(address)
        }
    };
    Ok(Some(User {
        remote_address: remote_address.map(RemoteAddress::Address),
        ..User::new(name, Credential::of_password(secret))
    }))
}

/// Splits a line as pppd does. Words may be secrets, so they are wiped after use.
fn words(line: &str) -> Result<Vec<Zeroizing<String>>, String> {
    let mut words = Vec::new();
    let mut letters = line.chars().peekable();
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        match letters.peek() {
            None | Some('#') => return Ok(words),
            Some(_) => {}
        }
        let mut word = Zeroizing::new(String::with_capacity(line.len()));
        let mut quote = None;
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => word.push(letters.next().ok_or("ends in a backslash")?),
                '"' | '\'' if quote.is_none() => quote = Some(letter),
                _ if quote == Some(letter) => quote = None,
                _ if quote.is_none() && letter.is_whitespace() => break,
                _ => word.push(letter),
            }
        }
        if quote.is_some() {
            return Err("has a quote that is not closed".to_owned());
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chap_secrets_are_read_as_pppd_reads_them() {
        let (users, bad) = parse(
            "# client server secret address\n\
             ivan * secret 10.0.0.7\r\n\
             \n\
             \"anna maria\" penstock 'with \" # inside' *   # comment\n\
             иван * пароль\n\
             back\\ slash * a\\\"b\n"
                .as_bytes(),
        );
        assert_eq!(bad, []);
        let expect = [
            (2, "ivan", "secret", Some(Ipv4Addr::new(10, 0, 0, 7))),
            (4, "anna maria", "with \" # inside", None),
            (5, "иван", "пароль", None),
            (6, "back slash", "a\"b", None),
        ];
        assert_eq!(users.len(), expect.len());
        for ((line, user), (number, name, secret, address)) in users.iter().zip(expect) {
            assert_eq!((*line, user.name.as_str(), user.own_address()), (number, name, address));
            assert_eq!(user.credential, Credential::of_password(secret));
        }
    }

    #[test]
    fn bad_lines_are_reported_and_lose_no_others() {
        let text =
            b"one\na * b nonsense\n* * b\nc * \"open\nd * @/etc/secret\ne * x 1.2.3.4 1.2.3.5\n\
                     f * x -\nh * x 127.0.0.1\n\xff * x\ng * end\\\n\"\" * x\ni * \"\" *\nlast * good\n";
        let (users, bad) = parse(text);
        assert_eq!(users.len(), 1);
        assert_eq!((users[0].0, users[0].1.name.as_str()), (13, "last"));
        let shown: String =
            bad.iter().map(|bad| format!("line {}: {}\n", bad.line, bad.reason)).collect();
        insta::assert_snapshot!(shown, @r"
        line 1: is not `client server secret [address]`
        line 2: `nonsense` is no IPv4 address
        line 3: `*` as client: name each user
        line 4: has a quote that is not closed
        line 5: secrets in other files are not supported
        line 6: gives more than one address
        line 7: `-` allows no address: leave the user out
        line 8: no host can have the address 127.0.0.1
        line 9: is not UTF-8
        line 10: ends in a backslash
        line 11: a name has 1 to 255 bytes and no control characters
        line 12: has no password: whoever knows the name could log in
        ");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_is_quoted_is_read_as_it_was(name in "[^\\x00-\\x1f\\x7f-\\u{9f}*]{1,40}", secret in "[^@&\\n\\r][^\\n\\r]{0,20}") {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let (users, bad) = parse(format!("{} * {}", quoted(&name), quoted(&secret)).as_bytes());
            prop_assert_eq!(bad, vec![]);
            prop_assert_eq!(&users[0].1.name, &name);
            prop_assert_eq!(&users[0].1.credential, &Credential::of_password(&secret));
        }
    }
}
