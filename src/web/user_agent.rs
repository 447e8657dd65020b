//! What servers are told of the client: the project, and whom to write to when
//! a crawl is a burden to them.

/// The environment variable with the address of whoever runs the crawl.
pub const CONTACT: &str = "REFRAIN_CONTACT";

/// The longest contact, in characters.
const LONGEST: usize = 200;

/// The text of the `User-Agent` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAgent {
    text: String,
    has_contact: bool,
}

/// A contact that nobody could be reached at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{contact}` in {CONTACT} is neither a mail address nor a URL")]
pub struct BadContact {
    contact: String,
}

impl BadContact {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("write {CONTACT}=you@university.example or {CONTACT}=https://your.page.example, or unset it")
    }
}

impl Default for UserAgent {
    /// `refrain/VERSION (+REPOSITORY)`.
    fn default() -> Self {
        Self { text: format!("{} (+{})", product(), env!("CARGO_PKG_REPOSITORY")), has_contact: false }
    }
}

impl UserAgent {
    /// `refrain/VERSION (+REPOSITORY; CONTACT)`. The contact is a mail address or
    /// an `http`, `https` or `mailto` URL in printable ASCII without spaces,
    /// parentheses, semicolons and quotes.
    ///
    /// # Errors
    /// [`BadContact`] if it is none.
    pub fn with_contact(contact: &str) -> Result<Self, BadContact> {
        let contact = contact.trim();
        let plain = contact.chars().all(|c| c.is_ascii_graphic() && !"()<>;\"\\".contains(c));
        if !plain || contact.len() > LONGEST || !(is_mail(contact) || is_url(contact)) {
            let shown = contact.chars().take(60).filter(|c| !c.is_control()).collect();
            return Err(BadContact { contact: shown });
        }
        let text = format!("{} (+{}; {contact})", product(), env!("CARGO_PKG_REPOSITORY"));
        Ok(Self { text, has_contact: true })
    }

    /// The header's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it says whom to write to.
    #[must_use]
    pub fn has_contact(&self) -> bool {
        self.has_contact
    }
}

fn product() -> String {
    format!("refrain/{}", env!("CARGO_PKG_VERSION"))
}

fn is_mail(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else { return false };
    let is_host = host.split('.').all(|part| !part.is_empty()) && host.contains('.');
    !name.is_empty() && is_host && !text.contains(['/', ':']) && !host.contains('@')
}

fn is_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| match url.scheme() {
        // A URL with credentials would hand them to every server.
        "http" | "https" => url.has_host() && url.username().is_empty() && url.password().is_none(),
        "mailto" => is_mail(url.path()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_an_address_or_a_url() {
        for good in ["a@b.example", "https://lab.example/crawl", "mailto:a@b.example", " a@b.example "] {
            let agent = UserAgent::with_contact(good).expect(good);
            assert!(agent.has_contact() && agent.as_str().ends_with(&format!("; {})", good.trim())), "{agent:?}");
        }
        let long = format!("https://x.example/{}", "a".repeat(LONGEST));
        let bad = [
            "",
            "me",
            "a@b",
            "@b.example",
            "ftp://x.example",
            "a b@c.example",
            "a@b.example\r\nx: y",
            "(a@b.c)",
            "é@b.c",
        ];
        for bad in bad.into_iter().chain(["https://u:p@x.example", "https://", "mailto:me", long.as_str()]) {
            let error = UserAgent::with_contact(bad).expect_err(bad);
            assert!(!error.to_string().contains('\n') && error.hint().contains(CONTACT));
        }
    }

    #[test]
    fn without_a_contact_the_project_is_still_named() {
        let agent = UserAgent::default();
        assert_eq!(
            agent.as_str(),
            concat!("refrain/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")")
        );
        assert!(!agent.has_contact());
    }
}
