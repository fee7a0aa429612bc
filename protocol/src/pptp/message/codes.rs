//! Result, error and reason codes (RFC 2637 §2.2 to §2.16). Unknown values are kept, for the log.

use std::fmt;

/// Declares a one-octet code once: variants, numbers, and words for an operator. Written twice or
/// thrice by hand the tables would drift apart.
macro_rules! code {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $value:literal, $words:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A value that the RFC does not define.
            Other(u8),
        }

        impl From<u8> for $name {
            fn from(value: u8) -> Self {
                match value {
                    $($value => Self::$variant,)*
                    other => Self::Other(other),
                }
            }
        }

        impl From<$name> for u8 {
            fn from(code: $name) -> Self {
                match code {
                    $($name::$variant => $value,)*
                    $name::Other(other) => other,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($words),)*
                    Self::Other(other) => write!(f, "undefined code {other}"),
                }
            }
        }
    };
}

code! {
    /// General Error Code (RFC 2637 §2.16).
    GeneralError {
        /// No general error.
        None = 0, "no error";
        /// No control connection exists yet.
        NotConnected = 1, "no control connection yet";
        /// Length or Magic Cookie is wrong.
        BadFormat = 2, "bad length or cookie";
        /// A field is out of range or reserved and not zero.
        BadValue = 3, "bad value in a field";
        /// No resources to handle this now.
        NoResource = 4, "no resources";
        /// The Call ID is invalid in this context.
        BadCallId = 5, "bad Call ID";
        /// A vendor-specific error in the PAC.
        PacError = 6, "error in the PAC";
    }
}

code! {
    /// Result Code of a Start-Control-Connection-Reply (RFC 2637 §2.2).
    StartResult {
        /// Established.
        Ok = 1, "established";
        /// See the Error Code.
        GeneralError = 2, "general error";
        /// The control connection exists already.
        AlreadyExists = 3, "control connection exists already";
        /// The requester may not establish one.
        NotAuthorized = 4, "not authorized";
        /// The requester's version is not supported.
        VersionNotSupported = 5, "protocol version not supported";
    }
}

code! {
    /// Reason of a Stop-Control-Connection-Request (RFC 2637 §2.3). Zero is no value of it.
    StopReason {
        /// A general request.
        None = 1, "no particular reason";
        /// The peer's version is not supported.
        Protocol = 2, "protocol version not supported";
        /// The requester is being shut down.
        LocalShutdown = 3, "shutting down";
    }
}

code! {
    /// Result Code of a Stop-Control-Connection-Reply (RFC 2637 §2.4) and of an Echo-Reply (§2.6).
    PlainResult {
        /// Done.
        Ok = 1, "ok";
        /// See the Error Code.
        GeneralError = 2, "general error";
    }
}

code! {
    /// Result Code of an Outgoing-Call-Reply (RFC 2637 §2.8).
    OutgoingResult {
        /// Established.
        Connected = 1, "connected";
        /// See the Error Code.
        GeneralError = 2, "general error";
        /// No carrier.
        NoCarrier = 3, "no carrier";
        /// Busy.
        Busy = 4, "busy";
        /// No dial tone.
        NoDialTone = 5, "no dial tone";
        /// Not established within the PAC's time.
        TimeOut = 6, "time-out";
        /// Administratively prohibited.
        DoNotAccept = 7, "administratively prohibited";
    }
}

code! {
    /// Result Code of an Incoming-Call-Reply (RFC 2637 §2.10).
    IncomingResult {
        /// The PAC should answer the call.
        Connect = 1, "connect";
        /// See the Error Code.
        GeneralError = 2, "general error";
        /// The PAC should not answer the call.
        DoNotAccept = 3, "not accepted";
    }
}

code! {
    /// Result Code of a Call-Disconnect-Notify (RFC 2637 §2.13).
    DisconnectResult {
        /// Carrier lost.
        LostCarrier = 1, "lost carrier";
        /// See the Error Code.
        GeneralError = 2, "general error";
        /// Administrative reasons.
        AdminShutdown = 3, "administrative shutdown";
        /// A Call-Clear-Request was received.
        Request = 4, "requested";
    }
}
