//! `providers:`: named groups of settings, which a stage takes with
//! `provider: NAME` in its `with:`. Groups are put together with the stages'
//! own settings as values of the file, before a kind sees them: no kind knows
//! of them, and a mistake in a group is shown where it stands in the group.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::document::{Document, StageShell, check};
use super::node::{Content, Entry, Node};
use super::report::{Place, Report};
use super::substitute::{Scope, Variant, Variants, variant_names};
use crate::ground::closest;
use crate::stage::StageKind;
use crate::web::{KNOWN_PROVIDERS, KnownProvider};

/// The setting that names a group.
pub(super) const PROVIDER: &str = "provider";

/// The settings by which it is told that a kind asks a provider.
const OF_PROVIDERS: [&str; 3] = ["base_url", "api_key", "limiter"];

/// A stage's settings, and which of them come from a group.
pub(super) struct Merged<'a> {
    pub(super) with: Cow<'a, Entry>,
    /// The group's name and the settings taken from it.
    pub(super) taken: Option<(String, BTreeSet<String>)>,
    /// Whether the group could not be found: then settings may be missing.
    pub(super) lacking: bool,
}

/// Reads the block: every group with its settings as they are written.
pub(super) fn read(root: &Node, report: &mut Report) -> Vec<Entry> {
    let Some(block) = root.entry("providers") else { return Vec::new() };
    let Some(groups) = block.node.entries() else {
        let what = format!("`providers` must be a mapping, and this is {}", block.node.describe());
        report.hinted(block.node.place, what, "write `providers: { NAME: { base_url: … } }`");
        return Vec::new();
    };
    for group in groups {
        check(&group.key, group.place, false, report);
        if group.node.entries().is_none() {
            let what = format!(
                "the provider `{}` must be a mapping of settings, and this is {}",
                group.key,
                group.node.describe()
            );
            report.hinted(group.node.place, what, "write `NAME: { base_url: …, api_key: … }`");
        } else if let Some(nested) = group.node.entry(PROVIDER) {
            let what = format!("the provider `{}` names a provider itself", group.key);
            report.hinted(nested.place, what, "write its settings out");
        }
    }
    groups.to_vec()
}

/// The groups that a stage may take, under whatever variant, by name.
pub(super) fn named_by(with: Option<&Entry>, scope: &Scope<'_>, variants: &[Variant]) -> BTreeSet<String> {
    let Some(provider) = with.and_then(|with| with.node.entry(PROVIDER)) else { return BTreeSet::new() };
    let name = |scope: Scope<'_>| {
        // What cannot be resolved is reported when the stage is checked.
        let mut quiet = Report::new(Path::new(""), "");
        scope.apply(&provider.node, &mut quiet).and_then(|node| node.text().map(str::to_owned))
    };
    let of_variant = |variant: &Variant| name(Scope { variants: Variants::Of(variant, ""), ..*scope });
    let alone = name(Scope { variants: Variants::Absent, ..*scope });
    variants.iter().filter_map(of_variant).chain(alone).collect()
}

/// The `${variant.…}` names in what a stage takes of its groups.
pub(super) fn variants_used(
    groups: &[Entry],
    names: &BTreeSet<String>,
    with: Option<&Entry>,
) -> BTreeMap<String, Place> {
    let taken = groups.iter().filter(|group| names.contains(&group.key)).filter_map(|group| group.node.entries());
    let own = |setting: &&Entry| with.is_some_and(|with| with.node.entry(&setting.key).is_some());
    taken.flatten().filter(|setting| !own(setting)).flat_map(|setting| variant_names(&setting.node)).collect()
}

/// A stage's settings with those of its provider: its own win, then the
/// group's, then what is known of a provider of that name.
pub(super) fn merge<'a>(
    groups: &[Entry],
    kind: &'static dyn StageKind,
    with: &'a Entry,
    scope: &Scope<'_>,
    report: &mut Report,
) -> Merged<'a> {
    let untouched = Merged { with: Cow::Borrowed(with), taken: None, lacking: false };
    let (Some(own), Some(provider)) = (with.node.entries(), with.node.entry(PROVIDER)) else { return untouched };
    let settings = kind.settings_schema();
    if !takes_provider(&settings) {
        return untouched;
    }
    let mut entries: Vec<Entry> = own.iter().filter(|entry| entry.key != PROVIDER).cloned().collect();
    let mut taken = BTreeSet::new();
    let found = look_up(groups, provider, scope, report);
    for entry in found.iter().flat_map(|(_, settings)| settings) {
        let takes = settings["properties"].get(&entry.key).is_some();
        if takes && !entries.iter().any(|given| given.key == entry.key) {
            taken.insert(entry.key.clone());
            entries.push(entry.clone());
        }
    }
    let node = Node { place: with.node.place, content: Content::Map(entries) };
    let with = Cow::Owned(Entry { key: with.key.clone(), place: with.place, node });
    Merged { with, lacking: found.is_none(), taken: found.map(|(name, _)| (name, taken)) }
}

/// The name of the provider that a stage takes, and its settings, those that
/// win first. `None` if there is none, which has then been reported.
fn look_up(groups: &[Entry], provider: &Entry, scope: &Scope<'_>, report: &mut Report) -> Option<(String, Vec<Entry>)> {
    let node = scope.apply(&provider.node, report)?;
    let Some(name) = node.text() else {
        let what = format!("`provider` must be a name, and this is {}", node.describe());
        report.hinted(node.place, what, "name one of `providers:`");
        return None;
    };
    let (group, known) = (groups.iter().find(|group| group.key == name), KnownProvider::find(name));
    if group.is_none() && known.is_none() {
        let names = groups.iter().map(|group| group.key.as_str()).chain(KNOWN_PROVIDERS.iter().map(|known| known.name));
        report.hinted(node.place, format!("there is no provider `{name}`"), hint_for(name, names));
        return None;
    }
    let place = provider.place;
    let text = |text: String| Node { place, content: Content::Scalar(Value::String(text)) };
    let of_known = known.into_iter().flat_map(KnownProvider::settings);
    let of_known = of_known.map(|(key, value)| Entry { key: key.to_owned(), place, node: text(value) });
    let of_group = group.and_then(|group| group.node.entries()).unwrap_or_default().iter().cloned();
    Some((name.to_owned(), of_group.chain(of_known).collect()))
}

fn hint_for<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match closest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? Else describe it under `providers:`"),
        None => format!("describe it under `providers:`; the providers are {}", names.join(", ")),
    }
}

/// A setting of a group that no stage which takes the group has is a slip of the pen.
pub(super) fn check_settings(document: &Document, kinds: &[&'static dyn StageKind], report: &mut Report) {
    for group in &document.providers {
        let takers: Vec<&'static dyn StageKind> =
            document.stages.iter().filter_map(|shell| taker(shell, group)).collect();
        let takers = if takers.is_empty() { kinds } else { &takers };
        let mut names: Option<BTreeSet<String>> = None;
        for setting in group.node.entries().unwrap_or_default().iter().filter(|setting| setting.key != PROVIDER) {
            let names = names.get_or_insert_with(|| settings_of(takers));
            if names.contains(&setting.key) {
                continue;
            }
            let what = format!("the provider `{}`: no stage that uses it has a setting `{}`", group.key, setting.key);
            let near = closest(&setting.key, names.iter().map(String::as_str));
            let hint = near.map_or_else(|| "remove it".to_owned(), |near| format!("did you mean `{near}`?"));
            report.hinted(setting.place, what, hint);
        }
    }
}

/// The kind of a stage that takes the group.
fn taker(shell: &StageShell, group: &Entry) -> Option<&'static dyn StageKind> {
    shell.kind.filter(|_| shell.providers.contains(&group.key))
}

fn settings_of(kinds: &[&'static dyn StageKind]) -> BTreeSet<String> {
    let names = |kind: &&'static dyn StageKind| match &kind.settings_schema()["properties"] {
        Value::Object(properties) => properties.keys().cloned().collect(),
        _ => Vec::new(),
    };
    kinds.iter().flat_map(names).collect()
}

/// Whether the settings of a kind, given as their JSON Schema, may come from a provider.
pub(super) fn takes_provider(settings: &Value) -> bool {
    OF_PROVIDERS.iter().any(|key| settings["properties"].get(key).is_some())
}
