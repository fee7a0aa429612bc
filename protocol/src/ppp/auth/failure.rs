//! What a refused login is told: MS-CHAP's error codes and the text that carries them.
//!
//! Implements RFC 2433 §8 and RFC 2759 §6. Never lets a text decide more than its fields do.

use std::fmt;

use super::Method;

/// Most that is kept of a text of the peer's, characters.
const MAX_TEXT: usize = 128;

/// Why a login is refused: the error codes of MS-CHAP (RFC 2433 §8; RFC 2759 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 646: not at this hour.
    RestrictedHours,
    /// 647: the account is disabled.
    Disabled,
    /// 648: the password has expired.
    PasswordExpired,
    /// 649: the account may not dial in.
    NoDialIn,
    /// 691: wrong name or password.
    WrongPassword,
    /// 709: the password could not be changed.
    PasswordUnchanged,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RestrictedHours,
        Self::Disabled,
        Self::PasswordExpired,
        Self::NoDialIn,
        Self::WrongPassword,
        Self::PasswordUnchanged,
    ];

    /// The number in the Failure packet.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::RestrictedHours => 646,
            Self::Disabled => 647,
            Self::PasswordExpired => 648,
            Self::NoDialIn => 649,
            Self::WrongPassword => 691,
            Self::PasswordUnchanged => 709,
        }
    }

    /// The refusal of a number; what we do not know counts as 691.
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|refusal| u32::from(refusal.code()) == code)
            .unwrap_or(Self::WrongPassword)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RestrictedHours => "not allowed at this hour",
            Self::Disabled => "account disabled",
            Self::PasswordExpired => "password expired",
            Self::NoDialIn => "no permission to dial in",
            Self::WrongPassword => "wrong password",
            Self::PasswordUnchanged => "password could not be changed",
        })
    }
}

/// What a Failure packet says, and RADIUS's MS-CHAP-Error without its identifier (RFC 2548
/// §2.1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `E=`.
    pub refusal: Refusal,
    /// `C=` where `R=1`: the challenge that the peer may answer in another try.
    pub retry: Option<Vec<u8>>,
    /// `M=`, or a text without fields as a whole; printable, at most 128 characters.
    pub message: String,
}

impl Failure {
    /// Reads a message. There is no bad one: what is missing is left empty, and counts as 691.
    #[must_use]
    pub fn parse(message: &[u8]) -> Self {
        let text: String =
            String::from_utf8_lossy(message).chars().filter(|c| !c.is_control()).collect();
        // A message may hold anything, things that look like fields too.
        let (fields, message) = match text.split_once("M=") {
            Some((fields, message)) => (fields, message),
            None if text.starts_with("E=") => (&text[..], ""),
            None => ("", &text[..]),
        };
        let field = |name: &str| fields.split(' ').find_map(|word| word.strip_prefix(name));
        let refusal = field("E=")
            .and_then(|digits| digits.parse().ok())
            .map_or(Refusal::WrongPassword, Refusal::from_code);
        let retry = field("R=").filter(|flag| *flag == "1");
        Self {
            refusal,
            retry: retry.and_then(|_| field("C=")).and_then(octets),
            message: message.chars().take(MAX_TEXT).collect(),
        }
    }

    /// The message of a method's Failure packet. `challenge` is what `C=` says, as RFC 2759 §6
    /// demands it with `R=0`, too.
    pub(super) fn emit(&self, method: Method, challenge: &[u8]) -> Vec<u8> {
        let Self { refusal, retry, message } = self;
        let code = refusal.code();
        let flag = u8::from(retry.is_some());
        let hex: String = challenge.iter().map(|octet| format!("{octet:02X}")).collect();
        match method {
            Method::MsChapV2 => format!("E={code} R={flag} C={hex} V=3 M={message}"),
            Method::MsChapV1 => format!("E={code} R={flag} C={hex} V=2"),
            Method::ChapMd5 | Method::Pap => message.clone(),
        }
        .into_bytes()
    }
}

/// Octets of a string of hexadecimal digits. `None` if it is none.
fn octets(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_failure_names_its_reason() {
        // As pppd sends it.
        let text = b"E=691 R=1 C=4faedc8c2e89ba56ccc93fe87dfe4f9d V=0 M=Access denied";
        let failure = Failure::parse(text);
        assert_eq!(failure.refusal, Refusal::WrongPassword);
        assert_eq!(failure.message, "Access denied");
        assert_eq!(failure.retry.unwrap()[..3], [0x4F, 0xAE, 0xDC]);
        assert_eq!(Failure::parse(b"E=649 R=0").refusal, Refusal::NoDialIn);
        assert_eq!(Failure::parse(b"").refusal, Refusal::WrongPassword);
    }

    #[test]
    fn a_message_cannot_pose_as_fields() {
        let failure = Failure::parse(b"E=647 R=0 C=00 V=3 M=E=691 R=1 C=11");
        assert_eq!((failure.refusal, failure.retry), (Refusal::Disabled, None));
        // RFC 1994 §4.2: a plain CHAP message is a text and nothing else.
        let plain = Failure::parse(b"I don't like you.  Go 'way. R=1 C=00");
        assert_eq!((plain.retry, plain.message.len()), (None, 36));
    }

    proptest! {
        #[test]
        fn arbitrary_messages_never_panic(message: Vec<u8>) {
            prop_assert!(Failure::parse(&message).message.chars().count() <= MAX_TEXT);
        }

        #[test]
        fn what_is_emitted_is_read(
            code in prop::sample::select(&Refusal::ALL),
            challenge in prop::option::of(any::<[u8; 16]>()),
            message in "[ -~]{0,128}",
        ) {
            let retry = challenge.map(Vec::from);
            let failure = Failure { refusal: code, retry, message };
            let said = challenge.unwrap_or([0; 16]);
            prop_assert_eq!(&Failure::parse(&failure.emit(Method::MsChapV2, &said)), &failure);
            let first = Failure::parse(&failure.emit(Method::MsChapV1, &said[..8]));
            prop_assert_eq!(first.refusal, failure.refusal);
            prop_assert_eq!(first.retry, challenge.map(|challenge| challenge[..8].to_vec()));
        }
    }
}
