//! What peers send as text, made fit for a log, a terminal and JSON.

/// Most characters of a peer's text that are shown.
const MAX: usize = 256;

/// Text of unknown charset that may hold anything: what is not printable is escaped.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Control characters steer terminals, and a backslash would make escapes ambiguous.
            if c.is_control() || is_invisible(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
        if text.len() > MAX {
            break;
        }
    }
    if text.chars().count() > MAX {
        text = text.chars().take(MAX).chain(['…']).collect();
    }
    text
}

/// Marks that reorder or hide the text around them.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_any_language_stay_readable_and_the_rest_is_escaped() {
        assert_eq!(printable("ДОМ\\иван".as_bytes()), "ДОМ\\иван");
        assert_eq!(printable(b"a\x1b[31m\r\nb"), "a\\u{1b}[31m\\r\\nb");
        assert_eq!(printable(b"\xe8\xe2\xe0\xed"), "\\xe8\\xe2\\xe0\\xed");
        assert_eq!(printable("x\u{202e}y".as_bytes()), "x\\u{202e}y");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_short_and_harmless(bytes: Vec<u8>) {
            let text = printable(&bytes);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert!(text.chars().count() <= MAX + 1);
        }
    }
}
