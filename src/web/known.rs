//! The OpenAI-compatible servers that a pipeline may name without describing
//! them. Everything here can be said in YAML as well, and YAML wins.

/// What is known of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownProvider {
    /// What `provider:` calls it, and the name of its limiter.
    pub name: &'static str,
    /// Its address, or that which it has by default on this machine.
    pub base_url: &'static str,
    /// The variable with its key; none for a server that wants none.
    pub key_variable: Option<&'static str>,
}

/// One line of the table.
const fn known(name: &'static str, base_url: &'static str, key_variable: Option<&'static str>) -> KnownProvider {
    KnownProvider { name, base_url, key_variable }
}

/// All of them, by name.
pub const KNOWN_PROVIDERS: [KnownProvider; 9] = [
    known("groq", "https://api.groq.com/openai/v1", Some("GROQ_API_KEY")),
    known("llamacpp", "http://127.0.0.1:8080/v1", None),
    known("mistral", "https://api.mistral.ai/v1", Some("MISTRAL_API_KEY")),
    known("ollama", "http://127.0.0.1:11434/v1", None),
    known("openai", "https://api.openai.com/v1", Some("OPENAI_API_KEY")),
    known("openrouter", "https://openrouter.ai/api/v1", Some("OPENROUTER_API_KEY")),
    known("tei", "http://127.0.0.1:8080/v1", None),
    known("together", "https://api.together.xyz/v1", Some("TOGETHER_API_KEY")),
    known("vllm", "http://127.0.0.1:8000/v1", None),
];

impl KnownProvider {
    /// The one of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        KNOWN_PROVIDERS.iter().find(|known| known.name == name)
    }

    /// Its settings, as a stage would write them.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, String); 3] {
        let key = self.key_variable.map_or_else(String::new, |variable| format!("${{env.{variable}}}"));
        [("base_url", self.base_url.to_owned()), ("api_key", key), ("limiter", self.name.to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Endpoints;
    use super::*;

    #[test]
    fn every_address_can_be_used_and_names_are_sorted() {
        assert!(KNOWN_PROVIDERS.is_sorted_by_key(|known| known.name));
        for known in KNOWN_PROVIDERS {
            let endpoint = Endpoints::default().resolve("chat", Some(known.base_url)).expect("an address");
            assert_eq!(endpoint.base_url, known.base_url);
            assert_eq!(known.base_url.starts_with("https://"), known.key_variable.is_some(), "{}", known.name);
            assert_eq!(KnownProvider::find(known.name), Some(&known));
        }
    }

    /// The page repeats the table for people.
    #[test]
    fn the_page_lists_them_all() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
        let page = std::fs::read_to_string(path).expect("the page");
        for known in KNOWN_PROVIDERS {
            let key = known.key_variable.map_or("none".to_owned(), |variable| format!("`{variable}`"));
            let line = format!("| `{}` | `{}` | {key} |", known.name, known.base_url);
            assert!(page.contains(&line), "docs/providers.md lacks: {line}");
        }
    }
}
