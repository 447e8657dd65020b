//! Checks every stage under every variant that it uses: settings by their
//! kind, ports, and the names in its inputs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::document::{Document, StageShell};
use super::node::{Content, Entry, Node};
use super::providers;
use super::reference::{Reference, Selector};
use super::report::{Place, Report, suggest};
use super::schema::example_of;
use super::settings::{every_mistake, report_all};
use super::substitute::{Scope, Variant, Variants};
use crate::ground::closest;
use crate::stage::{InputPort, Resource, SettingProblem, Stage, StageKind};
use crate::web::KNOWN_PROVIDERS;

/// A stage under one variant, or under none.
pub(super) struct Draft {
    /// Its checked settings; `None` if they had problems.
    pub(super) stage: Option<Arc<dyn Stage>>,
    pub(super) inputs: Vec<PortInput>,
}

/// What one port is given.
pub(super) struct PortInput {
    /// The port as the stage declares it, under the name in the file; `None`
    /// if it is not known what the port is.
    pub(super) port: Option<InputPort>,
    pub(super) name: String,
    pub(super) place: Place,
    /// The producers: the reference's place, its target's index and itself.
    pub(super) references: Vec<(Place, usize, Reference)>,
    /// Whether something about it was already reported.
    pub(super) broken: bool,
}

/// A stage's drafts: one, or one per variant if it uses `${variant.…}` itself.
pub(super) struct Drafts {
    pub(super) of_variants: bool,
    pub(super) drafts: Vec<Draft>,
}

impl Drafts {
    /// The draft for the variant of that index.
    pub(super) fn of(&self, variant: Option<usize>) -> Option<&Draft> {
        self.drafts.get(variant.filter(|_| self.of_variants).unwrap_or(0))
    }
}

/// Checks all stages; the drafts are in the order of the document's stages.
pub(super) fn check(document: &Document, kinds: &[&'static dyn StageKind], report: &mut Report) -> Vec<Drafts> {
    let all: Vec<Drafts> = document.stages.iter().map(|shell| check_shell(document, shell, report)).collect();
    check_variant_values(document, report);
    providers::check_settings(document, kinds, report);
    check_limiters(document, &all, report);
    check_shards(document, kinds, &all, report);
    all
}

fn check_shell(document: &Document, shell: &StageShell, report: &mut Report) -> Drafts {
    let scope = Scope { variables: &document.variables, variants: Variants::Absent, environment: true };
    let user = format!("the stage `{}`", shell.name);
    if shell.uses.is_empty() || document.variants.is_empty() {
        if let Some((name, place)) = shell.uses.first_key_value() {
            let hint = format!("add `variants: {{ V1: {{ {name}: VALUE }} }}`, or use `${{var.{name}}}`");
            report.hinted(*place, format!("`${{variant.{name}}}` is used and the file has no `variants:`"), hint);
        }
        return Drafts { of_variants: false, drafts: vec![draft(document, shell, scope, report)] };
    }
    let mut with_variant = |variant: &Variant| {
        let scope = Scope { variants: Variants::Of(variant, &user), ..scope };
        draft(document, shell, scope, report)
    };
    let drafts = document.variants.iter().map(&mut with_variant).collect();
    Drafts { of_variants: true, drafts }
}

fn draft(document: &Document, shell: &StageShell, scope: Scope<'_>, report: &mut Report) -> Draft {
    let stage = parse_settings(document, shell, scope, report);
    let known = stage.as_ref().map(|stage| stage.inputs());
    // Where the settings are wrong, the ports are most likely those of the example.
    let example = || shell.kind.and_then(example_of).map(|stage| stage.inputs());
    let ports = known.or_else(example);
    let scope = Scope { environment: false, ..scope };
    let mut inputs = Vec::new();
    for entry in &shell.inputs {
        let port = ports.as_ref().and_then(|ports| find_port(shell, entry, ports, report));
        let node = scope.apply(&entry.node, report);
        let place = node.as_ref().map_or(entry.node.place, |node| node.place);
        let mut input =
            PortInput { broken: node.is_none(), port, name: entry.key.clone(), place, references: Vec::new() };
        if let Some(node) = node {
            if matches!(node.content, Content::List(_)) && input.port.as_ref().is_some_and(|port| !port.many) {
                let what = format!(
                    "the input `{}` of the stage `{}` takes one stage, and this is a list",
                    entry.key, shell.name
                );
                report.hinted(node.place, what, "name one stage");
                input.broken = true;
            }
            read_references(document, shell, &node, &mut input, report);
        }
        inputs.push(input);
    }
    for port in ports.iter().flatten().filter(|port| port.required) {
        let names = || ports.iter().flatten().map(|port| port.name.as_str());
        let meant = |entry: &Entry| {
            !names().any(|name| name == entry.key) && closest(&entry.key, names()) == Some(port.name.as_str())
        };
        let given = shell.inputs.iter().any(|entry| port.name == "*" || entry.key == port.name || meant(entry));
        if !given && port.name == "*" {
            report.hinted(
                shell.inputs_place,
                format!("the stage `{}` has no input", shell.name),
                "write `inputs: { NAME: STAGE }`",
            );
        } else if !given {
            let what = format!("the stage `{}` lacks its input `{}`", shell.name, port.name);
            report.hinted(shell.inputs_place, what, format!("write `inputs: {{ {}: STAGE }}`", port.name));
        }
    }
    Draft { stage, inputs }
}

/// Has the kind check the settings; what cannot be resolved is left out, so
/// that the other mistakes are found too.
fn parse_settings(
    document: &Document,
    shell: &StageShell,
    scope: Scope<'_>,
    report: &mut Report,
) -> Option<Arc<dyn Stage>> {
    let kind = shell.kind?;
    let merged = shell.with.as_ref().map(|with| providers::merge(&document.providers, kind, with, &scope, report));
    let (resolved, left_out) = merged.as_ref().map(|merged| resolve_settings(&merged.with, scope, report)).unzip();
    let left_out = left_out.unwrap_or_default();
    let lacking = merged.as_ref().is_some_and(|merged| merged.lacking);
    let value = resolved.as_ref().map_or(Value::Null, |with| with.node.to_value());
    let mut problems = match every_mistake(&value, |with| kind.parse(with)) {
        Ok(stage) => return Some(stage).filter(|_| left_out.is_empty() && !lacking),
        Err(problems) => problems,
    };
    problems.retain(|problem| {
        let about_left_out = problem.what.split('`').skip(1).step_by(2).any(|word| left_out.contains(word));
        let missing = lacking && problem.what.contains("is missing");
        !about_left_out && !missing && !left_out.contains("")
    });
    let taken = merged.and_then(|merged| merged.taken);
    let of_group = |problem: &SettingProblem| {
        let key = problem.path.split(['.', '[']).next().unwrap_or_default();
        taken.as_ref().is_some_and(|(_, keys)| keys.contains(key))
    };
    let (of_group, own): (Vec<_>, Vec<_>) = problems.into_iter().partition(of_group);
    report_all(&format!("the stage `{}`", shell.name), own, resolved.as_ref(), shell.place, report);
    let group = taken.as_ref().map_or("", |(name, _)| name);
    report_all(&format!("the provider `{group}`"), of_group, resolved.as_ref(), shell.place, report);
    None
}

/// The settings with their references replaced, and the keys that could not be.
fn resolve_settings(with: &Entry, scope: Scope<'_>, report: &mut Report) -> (Entry, BTreeSet<String>) {
    let mut left_out = BTreeSet::new();
    let node = match &with.node.content {
        Content::Map(entries) => {
            let mut kept = Vec::new();
            for entry in entries {
                let single = Node { place: with.node.place, content: Content::Map(vec![entry.clone()]) };
                match scope.apply(&single, report).map(|node| node.content) {
                    Some(Content::Map(entries)) => kept.extend(entries),
                    _ => drop(left_out.insert(entry.key.clone())),
                }
            }
            Node { place: with.node.place, content: Content::Map(kept) }
        }
        _ => scope.apply(&with.node, report).unwrap_or_else(|| {
            left_out.insert(String::new());
            Node { place: with.node.place, content: Content::Scalar(Value::Null) }
        }),
    };
    (Entry { key: with.key.clone(), place: with.place, node }, left_out)
}

fn find_port(shell: &StageShell, entry: &Entry, ports: &[InputPort], report: &mut Report) -> Option<InputPort> {
    let named = ports.iter().find(|port| port.name == entry.key && port.name != "*");
    let port = named.or_else(|| ports.iter().find(|port| port.name == "*")).cloned();
    if port.is_none() {
        let hint = suggest(&entry.key, "inputs it has", ports.iter().map(|port| port.name.as_str()));
        report.hinted(entry.place, format!("the stage `{}` has no input `{}`", shell.name, entry.key), hint);
    }
    port
}

fn read_references(document: &Document, shell: &StageShell, node: &Node, input: &mut PortInput, report: &mut Report) {
    let text = match &node.content {
        Content::List(items) => {
            for item in items {
                read_references(document, shell, item, input, report);
            }
            return;
        }
        Content::Scalar(Value::String(text)) => text,
        _ => {
            let what = format!(
                "the input `{}` of the stage `{}` must name a stage, and this is {}",
                input.name,
                shell.name,
                node.describe()
            );
            report.hinted(node.place, what, "write the name of a stage, or `none` for no input");
            input.broken = true;
            return;
        }
    };
    if text == "none" {
        return;
    }
    match resolve_reference(document, shell, text, node.place, input, report) {
        Some((target, reference)) => input.references.push((node.place, target, reference)),
        None => input.broken = true,
    }
}

fn resolve_reference(
    document: &Document,
    shell: &StageShell,
    text: &str,
    place: Place,
    input: &PortInput,
    report: &mut Report,
) -> Option<(usize, Reference)> {
    let reference = match Reference::parse(text) {
        Ok(reference) => reference,
        Err(what) => {
            report.hinted(place, what, "an input is `STAGE`, `STAGE.OUTPUT`, `STAGE@VARIANT`, `STAGE@*` or `none`");
            return None;
        }
    };
    let target = document.stage_places.get(&reference.stage).copied();
    if target.is_none() {
        let names = document.stages.iter().map(|stage| stage.name.as_str());
        let hint = suggest(&reference.stage, "stages", names.filter(|name| *name != shell.name));
        let user = format!("which the input `{}` of `{}` names", input.name, shell.name);
        report.hinted(place, format!("there is no stage `{}`, {user}", reference.stage), hint);
    }
    if let Selector::Variant(name) = &reference.selector
        && !document.variants.iter().any(|variant| variant.name == *name)
    {
        let names = document.variants.iter().map(|variant| variant.name.as_str());
        report.hinted(place, format!("there is no variant `{name}`"), suggest(name, "variants", names));
        return None;
    }
    if reference.selector == Selector::All && input.port.as_ref().is_some_and(|port| !port.many) {
        let what = format!(
            "the input `{}` of the stage `{}` takes one table, and `{text}` may be many",
            input.name, shell.name
        );
        report.hinted(place, what, format!("write `{}` or `{}@VARIANT`", reference.stage, reference.stage));
        return None;
    }
    Some((target?, reference))
}

/// A stage that is cut into shards must be one whose rows are worked on apart.
fn check_shards(document: &Document, kinds: &[&'static dyn StageKind], all: &[Drafts], report: &mut Report) {
    for (shell, drafts) in document.stages.iter().zip(all) {
        let Some((_, place)) = shell.shards else { continue };
        let refused = drafts.drafts.iter().find_map(|draft| draft.stage.as_ref()?.sharding().err());
        let Some(why) = refused else { continue };
        let can = |kind: &&&'static dyn StageKind| example_of(**kind).is_some_and(|stage| stage.sharding().is_ok());
        let names: Vec<&str> = kinds.iter().filter(can).map(|kind| kind.name()).collect();
        let what = format!("the stage `{}` cannot be cut into shards: {why}", shell.name);
        report.hinted(place, what, format!("remove `shards:`; kinds that can be cut are {}", names.join(", ")));
    }
}

/// A value that no stage uses is most likely a slip of the pen.
fn check_variant_values(document: &Document, report: &mut Report) {
    let used: BTreeSet<&str> = document.stages.iter().flat_map(|stage| stage.uses.keys()).map(String::as_str).collect();
    let Some(first) = document.variants.first() else { return };
    if used.is_empty() {
        let hint = "use `${variant.NAME}` in the `inputs:` or `with:` of a stage, or remove `variants:`";
        return report.hinted(first.place, "no stage uses the variants", hint);
    }
    let mut seen = BTreeSet::new();
    for value in document.variants.iter().flat_map(|variant| &variant.values) {
        if !used.contains(value.key.as_str()) && seen.insert(value.key.as_str()) {
            let near = closest(&value.key, used.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let hint =
                near.unwrap_or_else(|| format!("use `${{variant.{}}}` in a stage, or remove the value", value.key));
            report.hinted(value.place, format!("no stage uses the variants' value `{}`", value.key), hint);
        }
    }
}

/// Limiters that stages name must exist; so must those that have a budget.
fn check_limiters(document: &Document, all: &[Drafts], report: &mut Report) {
    let mut known: BTreeSet<&str> = document.limiters.keys().map(String::as_str).collect();
    let declared = !known.is_empty();
    known.extend(super::DEFAULT_LIMITERS);
    known.extend(KNOWN_PROVIDERS.iter().map(|provider| provider.name));
    let mut named = BTreeSet::new();
    for (shell, drafts) in document.stages.iter().zip(all) {
        for stage in drafts.drafts.iter().filter_map(|draft| draft.stage.as_ref()) {
            let Resource::Api(limiter) = stage.resource() else { continue };
            if declared && !known.contains(limiter.as_str()) {
                let groups = document.providers.iter().filter(|group| shell.providers.contains(&group.key));
                let place = shell.with.iter().chain(groups).find_map(|entry| place_of_text(&entry.node, &limiter));
                let place = place.unwrap_or(shell.place);
                let what = format!("the stage `{}` uses the limiter `{limiter}`, which is not declared", shell.name);
                let near = closest(&limiter, known.iter().copied()).map(|near| format!("did you mean `{near}`? Else "));
                report.hinted(place, what, format!("{}declare it under `limiters:`", near.unwrap_or_default()));
            }
            named.insert(limiter);
        }
        check_price(document, shell, drafts, report);
    }
    for (name, (place, _)) in &document.budgets {
        if !known.contains(name.as_str()) && !named.contains(name) {
            let hint = suggest(name, "limiters", known.iter().copied());
            report.hinted(*place, format!("the budget `{name}` is for no limiter of that name"), hint);
        }
    }
}

/// What is counted in dollars must have a price.
fn check_price(document: &Document, shell: &StageShell, drafts: &Drafts, report: &mut Report) {
    let budget = |stage: &Arc<dyn Stage>| match stage.resource() {
        Resource::Api(limiter) if !stage.is_priced() => Some(limiter),
        _ => None,
    };
    let mut unpriced = drafts.drafts.iter().filter_map(|draft| budget(draft.stage.as_ref()?));
    let in_dollars = |name: &String| document.budgets.get(name).is_some_and(|(_, budget)| budget.usd.is_some());
    if let Some(limiter) = unpriced.find(in_dollars) {
        let what = format!(
            "the budget of `{limiter}` is in dollars, and the stage `{}` does not say what its requests cost",
            shell.name
        );
        let settings = shell.kind.map(StageKind::settings_schema).unwrap_or_default();
        let prices = settings["properties"].as_object().into_iter().flatten().map(|(name, _)| name);
        let prices: Vec<String> =
            prices.filter(|name| name.starts_with("usd_per_")).map(|n| format!("`{n}`")).collect();
        let hint = if prices.is_empty() {
            "it has no setting for that: count `requests` in the budget instead".to_owned()
        } else {
            format!("give {} below `with:`; 0 for what is free", prices.join(" or "))
        };
        let place = shell.with.as_ref().and_then(|with| place_of_text(&with.node, &limiter)).unwrap_or(shell.place);
        report.hinted(place, what, hint);
    }
}

fn place_of_text(node: &Node, wanted: &str) -> Option<Place> {
    let mut place = None;
    node.walk(&mut |part| {
        if part.text() == Some(wanted) {
            place.get_or_insert(part.place);
        }
    });
    place
}
