//! The user's profile as AWS's own tools keep it: `~/.aws/credentials` and
//! `~/.aws/config`, for what the environment does not say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use crate::ground::Environment;
use crate::ground::files::read_text;

/// What of a profile is used.
const USED: [(&str, AmazonS3ConfigKey); 5] = [
    ("aws_access_key_id", AmazonS3ConfigKey::AccessKeyId),
    ("aws_secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
    ("aws_session_token", AmazonS3ConfigKey::Token),
    ("region", AmazonS3ConfigKey::Region),
    ("endpoint_url", AmazonS3ConfigKey::Endpoint),
];

/// Fills in what the environment does not say. Where it has a key of its own, or
/// says where to get one, the profile's is not taken.
pub(super) fn fill_in(mut builder: AmazonS3Builder, environment: &Environment) -> AmazonS3Builder {
    let has_key = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",
    ]
    .iter()
    .any(|name| environment.var(name).is_some());
    let profile = profile(environment);
    for (name, key) in USED {
        let is_key = name.starts_with("aws_");
        let is_given = builder.get_config_value(&key).is_some();
        if let Some(value) = profile.get(name).filter(|_| !(is_given || is_key && has_key)) {
            builder = builder.with_config(key, value.clone());
        }
    }
    builder
}

/// The settings of the profile that is meant, by name.
fn profile(environment: &Environment) -> BTreeMap<String, String> {
    let name = environment.var("AWS_PROFILE").unwrap_or("default");
    let file = |variable: &str, usual: &str| {
        let below_home = || Some(PathBuf::from(environment.var("HOME")?).join(".aws").join(usual));
        let path = environment.var(variable).map(PathBuf::from).or_else(below_home)?;
        read_text(&path).ok()
    };
    let mut found = BTreeMap::new();
    if let Some(text) = file("AWS_CONFIG_FILE", "config") {
        found.extend(section(&text, &[name, &format!("profile {name}")]));
    }
    if let Some(text) = file("AWS_SHARED_CREDENTIALS_FILE", "credentials") {
        found.extend(section(&text, &[name]));
    }
    found
}

/// The lines `name = value` of a section of an INI file.
fn section(text: &str, names: &[&str]) -> BTreeMap<String, String> {
    let mut is_meant = false;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_meant = names.contains(&name.trim());
        } else if is_meant
            // Settings below settings stand further to the right.
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((name, value)) = trimmed.split_once('=')
        {
            found.insert(name.trim().to_owned(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::files::write_atomically;

    #[test]
    fn a_profile_fills_in_what_the_environment_does_not_say() {
        let home = tempfile::tempdir().unwrap();
        let aws = home.path().join(".aws");
        let keys = "[default]\naws_access_key_id=one\naws_secret_access_key = s1\n[lab]\naws_access_key_id = two\n";
        let config = "[profile lab]\nregion = eu-west-1\ns3 =\n  region = no\n[default]\nregion=us-west-2\n";
        write_atomically(&aws.join("credentials"), keys.as_bytes()).unwrap();
        write_atomically(&aws.join("config"), config.as_bytes()).unwrap();
        let home = home.path().display().to_string();
        let get = |pairs: &[(&str, &str)], key| {
            let pairs = pairs.iter().copied().chain([("HOME", home.as_str())]);
            fill_in(AmazonS3Builder::new(), &Environment::from_pairs(pairs)).get_config_value(&key)
        };
        assert_eq!(get(&[], AmazonS3ConfigKey::AccessKeyId).as_deref(), Some("one"));
        assert_eq!(get(&[], AmazonS3ConfigKey::Region).as_deref(), Some("us-west-2"));
        let lab = [("AWS_PROFILE", "lab")];
        assert_eq!(get(&lab, AmazonS3ConfigKey::AccessKeyId).as_deref(), Some("two"));
        assert_eq!(get(&lab, AmazonS3ConfigKey::Region).as_deref(), Some("eu-west-1"));
        let own = [("AWS_ACCESS_KEY_ID", "own")];
        assert_eq!(get(&own, AmazonS3ConfigKey::SecretAccessKey), None, "a key's halves are never mixed");
    }
}
