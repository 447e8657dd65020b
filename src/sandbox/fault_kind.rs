//! The ways in which a sandbox's servers fail, by name.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 that says how long to wait, though nothing was exceeded.
    Limited,
    /// 429 that says nothing.
    LimitedSilently,
    /// 500 with the provider's error body.
    Internal,
    /// 503; Last.fm's says error 8.
    Unavailable,
    /// A proxy's page with 502.
    BadGateway,
    /// 500, 502 and 503 to the next few requests at any route of the provider.
    Burst,
    /// A proxy's page with 200.
    Html,
    /// The connection is reset before the first byte.
    Reset,
    /// Half a body, then the end.
    Cut,
    /// Half a body, a pause, then the end.
    Stall,
    /// A pause instead of an answer, then the end.
    HeaderStall,
    /// Half a gzip stream that claims to be whole.
    Gzip,
    /// The right answer behind a byte order mark.
    Bom,
    /// The right answer under a wrong content type.
    ContentType,
    /// An answer that is not UTF-8.
    InvalidUtf8,
    /// A redirect to another host.
    Redirect,
    /// An answer of `giant_bytes`, always for the same requests.
    Giant,
    /// The same page of friends and loved tracks for ever, always for the same users.
    SamePage,
    /// Users that are in lists of friends and that nobody knows when asked.
    Vanish,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Limited,
        Self::LimitedSilently,
        Self::Internal,
        Self::Unavailable,
        Self::BadGateway,
        Self::Burst,
        Self::Html,
        Self::Reset,
        Self::Cut,
        Self::Stall,
        Self::HeaderStall,
        Self::Gzip,
        Self::Bom,
        Self::ContentType,
        Self::InvalidUtf8,
        Self::Redirect,
        Self::Giant,
        Self::SamePage,
        Self::Vanish,
    ];

    /// Its name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Limited => "limited",
            Self::LimitedSilently => "limited_silently",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::BadGateway => "bad_gateway",
            Self::Burst => "burst",
            Self::Html => "html",
            Self::Reset => "reset",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::HeaderStall => "header_stall",
            Self::Gzip => "gzip",
            Self::Bom => "bom",
            Self::ContentType => "content_type",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::Redirect => "redirect",
            Self::Giant => "giant",
            Self::SamePage => "same_page",
            Self::Vanish => "vanish",
        }
    }

    /// Whether a client that asks again gets the truth in the end. Those that
    /// do not pass happen only where they are named.
    #[must_use]
    pub fn passes(self) -> bool {
        !matches!(self, Self::Giant | Self::SamePage | Self::Vanish)
    }

    /// Whether the world's answers are other ones because of it.
    #[must_use]
    pub fn alters_the_world(self) -> bool {
        matches!(self, Self::SamePage | Self::Vanish)
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("there is {}", Self::ALL.map(Self::name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_name_everywhere() {
        for kind in FaultKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("a name"), kind.name());
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let refused = "rest".parse::<FaultKind>().expect_err("no kind");
        assert!(refused.contains("limited, limited_silently") && refused.contains("reset"), "{refused}");
    }
}
