//! The shell of a pipeline file: its top-level keys and its stages' keys.
//! Settings, ports and references are left to the checks that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde_json::Value;

use super::Refresh;
use super::engine::{self, EngineSettings};
use super::node::{Content, Entry, Node};
use super::providers;
use super::publication::ReportSettings;
use super::report::{Place, Report, suggest};
use super::settings::decode;
use super::shared;
use super::substitute::{Scope, Variant, Variants, variable_names, variant_names};
use super::yaml::parse_value;
use crate::ground::{check_name, parse_duration};
use crate::model::DeviceChoice;
use crate::remote::Sharing;
use crate::sandbox::SandboxSettings;
use crate::stage::StageKind;
use crate::web::{BudgetSettings, LimiterSettings};

/// The keys of a pipeline file.
pub(super) const TOP_KEYS: [&str; 16] = [
    "pipeline",
    "base",
    "description",
    "seed",
    "seeds",
    "device",
    "vars",
    "limiters",
    "budgets",
    "providers",
    "sandbox",
    "report",
    "store",
    "engine",
    "stages",
    "variants",
];
/// The keys of a stage.
pub(super) const STAGE_KEYS: [&str; 5] = ["kind", "inputs", "with", "refresh", "shards"];

/// The values of `${var.…}`; those of `--set` have no place.
pub(super) type Variables = BTreeMap<String, (Option<Place>, Node)>;

/// A file whose shell is understood.
pub(super) struct Document {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) seeds: Vec<u64>,
    pub(super) device: Option<DeviceChoice>,
    pub(super) limiters: BTreeMap<String, LimiterSettings>,
    /// With the place of the name.
    pub(super) budgets: BTreeMap<String, (Place, BudgetSettings)>,
    /// The groups of `providers:`, as they are written.
    pub(super) providers: Vec<Entry>,
    pub(super) engine: EngineSettings,
    pub(super) sandbox: Option<SandboxSettings>,
    pub(super) publication: ReportSettings,
    pub(super) store: Option<Sharing>,
    pub(super) stages: Vec<StageShell>,
    /// The place of each stage in `stages`, by its name.
    pub(super) stage_places: BTreeMap<String, usize>,
    pub(super) variants: Vec<Variant>,
    pub(super) variables: Variables,
}

/// A stage as written.
pub(super) struct StageShell {
    pub(super) name: String,
    /// Where its name is.
    pub(super) place: Place,
    /// Its kind, if there is one of that name.
    pub(super) kind: Option<&'static dyn StageKind>,
    /// `inputs:`, or nothing.
    pub(super) inputs: Vec<Entry>,
    /// Where `inputs` is, else where the stage's name is.
    pub(super) inputs_place: Place,
    /// `with:`, if it is there.
    pub(super) with: Option<Entry>,
    pub(super) refresh: Refresh,
    /// Into how many pieces its rows are cut, and where that stands.
    pub(super) shards: Option<(NonZeroU32, Place)>,
    /// The groups of `providers:` that it may take, under whatever variant.
    pub(super) providers: BTreeSet<String>,
    /// The `${variant.…}` names that it uses itself, and where.
    pub(super) uses: BTreeMap<String, Place>,
}

/// Reads the shell. `None` if there is nothing that could be checked further.
pub(super) fn read(
    root: &Node,
    set: &BTreeMap<String, String>,
    kinds: &[&'static dyn StageKind],
    report: &mut Report,
) -> Option<Document> {
    let Content::Map(entries) = &root.content else {
        let what = format!("a pipeline file must be a mapping, and this is {}", root.describe());
        report.hinted(root.place, what, "it starts with `pipeline: NAME`");
        return None;
    };
    for entry in entries.iter().filter(|entry| !TOP_KEYS.contains(&entry.key.as_str())) {
        let hint = suggest(&entry.key, "keys of a pipeline", TOP_KEYS);
        report.hinted(entry.place, format!("unknown key `{}`", entry.key), hint);
    }
    let variables = read_variables(root, set, report);
    let scope = Scope { variables: &variables, variants: Variants::Refused, environment: false };
    let resolved = |key: &str, report: &mut Report| -> Option<Entry> {
        let entry = root.entry(key)?;
        Some(Entry { node: scope.apply(&entry.node, report)?, ..entry.clone() })
    };
    let start = Place::START;
    if root.entry("pipeline").is_none() {
        report.hinted(start, "the pipeline has no name", "add `pipeline: NAME` at the top");
    }
    let name = resolved("pipeline", report).map(|entry| read_name(&entry, report)).unwrap_or_default();
    if let Some(entry) = resolved("description", report)
        && entry.node.text().is_none()
    {
        report.add(entry.node.place, format!("`description` must be text, and this is {}", entry.node.describe()));
    }
    let seed = resolved("seed", report).and_then(|entry| read_seed("seed", &entry.node, report)).unwrap_or(0);
    let seeds = resolved("seeds", report).map(|entry| read_seeds(&entry, report)).unwrap_or_default();
    let device = resolved("device", report).and_then(|entry| read_device(&entry, report));
    let limiters = resolved("limiters", report).map(|entry| read_limiters(&entry, report)).unwrap_or_default();
    let budgets = resolved("budgets", report).map(|entry| read_budgets(&entry, report)).unwrap_or_default();
    let sandbox = resolved("sandbox", report).and_then(|entry| read_sandbox(&entry, report));
    let publication = resolved("report", report).and_then(|entry| decode("the report", &entry, report));
    let store = resolved("store", report).and_then(|entry| shared::read(&entry, report));
    let engine_entry = resolved("engine", report);
    let engine = engine_entry.as_ref().map(|entry| engine::read(entry, report)).unwrap_or_default();
    let variants = read_variants(root, &scope, report);
    let providers = providers::read(root, report);
    let around = Around { scope, kinds, variants: &variants, providers: &providers };
    let stages = read_stages(root, &around, report);
    if stages.is_empty() && root.entry("stages").is_none_or(|entry| entry.node.entries().is_some_and(<[_]>::is_empty)) {
        let place = root.entry("stages").map_or(start, |entry| entry.place);
        report.hinted(
            place,
            "the pipeline has no stages",
            "add at least one below `stages:`; `refrain kinds` lists what stages can do",
        );
    }
    engine::check(engine_entry.as_ref(), &stages.iter().map(|stage| stage.name.as_str()), report);
    let stage_places = stages.iter().enumerate().map(|(at, stage)| (stage.name.clone(), at)).collect();
    Some(Document {
        name,
        seed,
        seeds,
        device,
        limiters,
        budgets,
        providers,
        engine,
        sandbox,
        publication: publication.unwrap_or_default(),
        store,
        stages,
        stage_places,
        variants,
        variables,
    })
}

/// The entries of what must be a mapping; reports anything else.
pub(super) fn mapping<'a>(entry: &'a Entry, report: &mut Report) -> &'a [Entry] {
    entry.node.entries().unwrap_or_else(|| {
        report
            .add(entry.node.place, format!("`{}` must be a mapping, and this is {}", entry.key, entry.node.describe()));
        &[]
    })
}

fn read_variables(root: &Node, set: &BTreeMap<String, String>, report: &mut Report) -> Variables {
    let none = Variables::new();
    let scope = Scope { variables: &none, variants: Variants::Refused, environment: true };
    let mut variables = Variables::new();
    for entry in root.entry("vars").map(|entry| mapping(entry, report)).unwrap_or_default() {
        check(&entry.key, entry.place, true, report);
        if let Some(node) = scope.apply(&entry.node, report) {
            variables.insert(entry.key.clone(), (Some(entry.place), node));
        }
    }
    let used = variable_names(root);
    for (name, value) in set {
        let default = variables.get(name).map(|(_, node)| node);
        if default.is_none() && !used.contains(name) {
            let known = variables.keys().chain(&used).map(String::as_str);
            let hint = suggest(name, "variables of this pipeline", known);
            report.put(None, format!("`--set {name}=…` names a variable that the pipeline does not have"), Some(hint));
            continue;
        }
        let place = Place::default();
        let as_text = || Node { place, content: Content::Scalar(Value::String(value.clone())) };
        let node =
            if default.is_some_and(|node| node.text().is_some()) { as_text() } else { parse_value(value, place) };
        let node = if node.is_null() { as_text() } else { node };
        variables.insert(name.clone(), (None, node));
    }
    variables
}

/// Reports what is no name.
pub(super) fn check(name: &str, place: Place, dots: bool, report: &mut Report) {
    if let Err(error) = check_name(name, dots) {
        report.add(place, error.to_string());
    }
}

fn read_name(entry: &Entry, report: &mut Report) -> String {
    let Some(name) = entry.node.text() else {
        report.add(entry.node.place, format!("`pipeline` must be a name, and this is {}", entry.node.describe()));
        return String::new();
    };
    check(name, entry.node.place, false, report);
    name.to_owned()
}

fn read_seed(what: &str, node: &Node, report: &mut Report) -> Option<u64> {
    let seed = match &node.content {
        Content::Scalar(value) => value.as_u64(),
        _ => None,
    };
    if seed.is_none() {
        report.add(node.place, format!("`{what}` must be a whole number, at least 0, and this is {}", node.describe()));
    }
    seed
}

fn read_seeds(entry: &Entry, report: &mut Report) -> Vec<u64> {
    let items = match &entry.node.content {
        Content::List(items) if !items.is_empty() => items,
        _ => {
            let what = format!("`seeds` must be a list of whole numbers, and this is {}", entry.node.describe());
            report.hinted(entry.node.place, what, "for one seed write `seed: 0`, for several `seeds: [0, 1, 2]`");
            return Vec::new();
        }
    };
    let mut seeds = Vec::new();
    for item in items {
        let Some(seed) = read_seed("seeds", item, report) else { continue };
        if seeds.contains(&seed) {
            report.add(item.place, format!("the seed {seed} is given twice"));
        } else {
            seeds.push(seed);
        }
    }
    seeds
}

fn read_device(entry: &Entry, report: &mut Report) -> Option<DeviceChoice> {
    let what = match entry.node.text().map(str::parse::<DeviceChoice>) {
        Some(Ok(device)) => return Some(device),
        Some(Err(error)) => format!("`device`: {error}"),
        None => format!("`device` must be a device's name, and this is {}", entry.node.describe()),
    };
    report.hinted(entry.node.place, what, "`device: auto` computes on a GPU where one works, else on the processor");
    None
}

fn read_limiters(block: &Entry, report: &mut Report) -> BTreeMap<String, LimiterSettings> {
    let mut limiters = BTreeMap::new();
    for entry in mapping(block, report) {
        check(&entry.key, entry.place, false, report);
        let owner = format!("the limiter `{}`", entry.key);
        let Some(settings) = decode::<LimiterSettings>(&owner, entry, report) else { continue };
        for name in settings.not_positive() {
            let place = entry.node.entry(name).map_or(entry.place, |setting| setting.node.place);
            let hint = "leave the setting out where there is no limit";
            report.hinted(place, format!("{owner}: `{name}` must be more than 0"), hint);
        }
        limiters.insert(entry.key.clone(), settings);
    }
    limiters
}

fn read_budgets(block: &Entry, report: &mut Report) -> BTreeMap<String, (Place, BudgetSettings)> {
    let mut budgets = BTreeMap::new();
    for entry in mapping(block, report) {
        check(&entry.key, entry.place, false, report);
        let owner = format!("the budget `{}`", entry.key);
        let Some(settings) = decode::<BudgetSettings>(&owner, entry, report) else { continue };
        if settings.usd.is_some_and(|usd| !(usd.is_finite() && usd >= 0.0)) {
            report.add(
                entry.node.entry("usd").map_or(entry.place, |usd| usd.node.place),
                format!("{owner}: `usd` must be a number of dollars, at least 0"),
            );
        }
        budgets.insert(entry.key.clone(), (entry.place, settings));
    }
    budgets
}

fn read_sandbox(entry: &Entry, report: &mut Report) -> Option<SandboxSettings> {
    let settings: SandboxSettings = decode("the sandbox", entry, report)?;
    if !(0.0..=1.0).contains(&settings.faults) {
        let place = entry.node.entry("faults").map_or(entry.place, |faults| faults.node.place);
        report.add(place, "the sandbox: `faults` is a share, from 0 to 1");
    }
    if !(0.0..=1.0).contains(&settings.other_languages) {
        let place = entry.node.entry("other_languages").map_or(entry.place, |share| share.node.place);
        report.add(place, "the sandbox: `other_languages` is a share, from 0 to 1");
    }
    for wrong in settings.wrong_limits() {
        let place = entry.node.entry("limits").or_else(|| entry.node.entry("per_second"));
        report.add(place.map_or(entry.place, |limits| limits.node.place), format!("the sandbox: {wrong}"));
    }
    Some(settings)
}

fn read_variants(root: &Node, scope: &Scope<'_>, report: &mut Report) -> Vec<Variant> {
    let Some(block) = root.entry("variants") else { return Vec::new() };
    // A variant's values may be secrets' names: they end up under `with:`.
    let scope = Scope { environment: true, ..*scope };
    let mut variants = Vec::new();
    for entry in mapping(block, report) {
        check(&entry.key, entry.place, true, report);
        let mut values = Vec::new();
        for value in mapping(entry, report) {
            // What cannot be resolved is reported; the value stays, so that it does not seem missing.
            let node = scope.apply(&value.node, report).unwrap_or_else(|| value.node.clone());
            values.push(Entry { node, ..value.clone() });
        }
        variants.push(Variant { name: entry.key.clone(), place: entry.place, values });
    }
    variants
}

/// What there is besides the stages.
struct Around<'a> {
    scope: Scope<'a>,
    kinds: &'a [&'static dyn StageKind],
    variants: &'a [Variant],
    providers: &'a [Entry],
}

fn read_stages(root: &Node, around: &Around<'_>, report: &mut Report) -> Vec<StageShell> {
    let Some(block) = root.entry("stages") else { return Vec::new() };
    mapping(block, report).iter().map(|entry| read_stage(entry, around, report)).collect()
}

fn read_stage(entry: &Entry, around: &Around<'_>, report: &mut Report) -> StageShell {
    let scope = &around.scope;
    check(&entry.key, entry.place, false, report);
    let kind_entry = entry.node.entry("kind");
    let kind = kind_entry.and_then(|kind| read_kind(entry, kind, scope, around.kinds, report));
    if kind_entry.is_none() && entry.node.entries().is_some() {
        report.hinted(
            entry.place,
            format!("the stage `{}` has no `kind`", entry.key),
            "`refrain kinds` lists what there is",
        );
    }
    for part in mapping(entry, report).iter().filter(|part| !STAGE_KEYS.contains(&part.key.as_str())) {
        let settings = kind.map(StageKind::settings_schema).unwrap_or_default();
        let hint = if settings["properties"].get(&part.key).is_some() {
            "it is a setting: it belongs below `with:`".to_owned()
        } else {
            suggest(&part.key, "keys of a stage", STAGE_KEYS)
        };
        report.hinted(part.place, format!("unknown key `{}` in the stage `{}`", part.key, entry.key), hint);
    }
    let inputs_entry = entry.node.entry("inputs");
    let inputs = inputs_entry.map(|inputs| {
        if let Some(entries) = inputs.node.entries() {
            return entries.to_vec();
        }
        let what = format!("`inputs` must be a mapping from ports to stages, and this is {}", inputs.node.describe());
        report.hinted(inputs.node.place, what, "write `inputs: { PORT: STAGE }`");
        Vec::new()
    });
    let refresh = entry.node.entry("refresh").and_then(|refresh| {
        let node = scope.apply(&refresh.node, report)?;
        read_refresh(&node, report)
    });
    let with = entry.node.entry("with");
    let mut uses = inputs_entry.map(|inputs| variant_names(&inputs.node)).unwrap_or_default();
    uses.extend(with.map(|with| variant_names(&with.node)).unwrap_or_default());
    let taken = providers::named_by(with, scope, around.variants);
    uses.extend(providers::variants_used(around.providers, &taken, with));
    StageShell {
        name: entry.key.clone(),
        place: entry.place,
        kind,
        inputs: inputs.unwrap_or_default(),
        inputs_place: inputs_entry.map_or(entry.place, |inputs| inputs.place),
        with: with.cloned(),
        refresh: refresh.unwrap_or_default(),
        shards: entry.node.entry("shards").and_then(|shards| read_shards(shards, scope, report)),
        providers: taken,
        uses,
    }
}

fn read_kind(
    stage: &Entry,
    entry: &Entry,
    scope: &Scope<'_>,
    kinds: &[&'static dyn StageKind],
    report: &mut Report,
) -> Option<&'static dyn StageKind> {
    let node = scope.apply(&entry.node, report)?;
    let Some(name) = node.text() else {
        report.add(
            node.place,
            format!("the `kind` of the stage `{}` must be a name, and this is {}", stage.key, node.describe()),
        );
        return None;
    };
    let kind = kinds.iter().copied().find(|kind| kind.name() == name);
    if kind.is_none() {
        let near = crate::ground::closest(name, kinds.iter().map(|kind| kind.name()));
        let hint = near
            .map_or_else(|| "`refrain kinds` lists what there is".to_owned(), |near| format!("did you mean `{near}`?"));
        report.hinted(node.place, format!("there is no kind `{name}`"), hint);
    }
    kind
}

/// Most pieces that a stage may be cut into: each has an open file while they are cut.
const MOST_SHARDS: u32 = 4096;

fn read_shards(entry: &Entry, scope: &Scope<'_>, report: &mut Report) -> Option<(NonZeroU32, Place)> {
    let node = scope.apply(&entry.node, report)?;
    let number = match &node.content {
        Content::Scalar(value) => value.as_u64().and_then(|number| u32::try_from(number).ok()),
        _ => None,
    };
    let number = number.filter(|number| *number <= MOST_SHARDS).and_then(NonZeroU32::new);
    if number.is_none() {
        let what = format!("`shards` must be a whole number from 1 to {MOST_SHARDS}, and this is {}", node.describe());
        report.add(node.place, what);
    }
    Some((number?, entry.place))
}

fn read_refresh(node: &Node, report: &mut Report) -> Option<Refresh> {
    const FORMS: &str = "write `once`, `always` or `{ after: 30d }`; units are w, d, h, m and s";
    match (node.text(), node.entries()) {
        (Some("once"), _) => return Some(Refresh::Once),
        (Some("always"), _) => return Some(Refresh::Always),
        (None, Some([entry])) if entry.key == "after" => {
            let Some(text) = entry.node.text() else {
                report.hinted(
                    entry.node.place,
                    format!("`after` must be a duration, and this is {}", entry.node.describe()),
                    FORMS,
                );
                return None;
            };
            match parse_duration(text) {
                Ok(duration) => return Some(Refresh::After(duration)),
                Err(what) => report.hinted(entry.node.place, what, FORMS),
            }
        }
        _ => report.hinted(node.place, format!("`refresh` cannot be {}", node.describe()), FORMS),
    }
    None
}
