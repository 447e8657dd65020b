//! What `providers:` means and what is said of its mistakes, on tiny kinds.

use proptest::prelude::*;

use super::fixtures::{brief, load, load_with};
use super::{Origins, SourceFile, SourceText};
use crate::ground::InstanceId;

/// A pipeline with a block of providers and a stage `words` with these settings.
fn text(providers: &str, with: &str) -> String {
    format!(
        "pipeline: p\nproviders:\n{providers}stages:\n  loved: {{ kind: read_table, with: {{ path: a.csv }} }}\n  \
         words: {{ kind: crawl_words, inputs: {{ items: loved }}, with: {with} }}\n"
    )
}

fn settings(text: &str, set: &[(&str, &str)], id: &str) -> serde_json::Value {
    let pipeline = load_with(text, set).unwrap_or_else(|problems| panic!("{problems}"));
    pipeline.instances.iter().find(|instance| instance.id.to_string() == id).unwrap().stage.settings()
}

#[test]
fn a_stage_takes_the_settings_of_its_provider_and_its_own_win() {
    let group = "  big: { limiter: slow, prompt: theirs, api_key: \"${env.BIG_KEY}\" }\n";
    let with = settings(&text(group, "{ provider: big, prompt: mine }"), &[], "words");
    assert_eq!(
        (&with["limiter"], &with["prompt"], &with["api_key"]),
        (&"slow".into(), &"mine".into(), &"${env.BIG_KEY}".into())
    );
    let alone = settings(&text(group, "{ prompt: mine }"), &[], "words");
    assert!(alone["limiter"].is_null() && alone["api_key"].is_null());
}

#[test]
fn known_providers_need_no_description_and_may_be_given_another() {
    let with = settings(&text("", "{ provider: groq }"), &[], "words");
    assert_eq!((&with["limiter"], &with["api_key"]), (&"groq".into(), &"${env.GROQ_API_KEY}".into()));
    let with = settings(&text("  groq: { api_key: \"${env.OTHER}\" }\n", "{ provider: groq }"), &[], "words");
    assert_eq!((&with["limiter"], &with["api_key"]), (&"groq".into(), &"${env.OTHER}".into()));
    assert_eq!(settings(&text("", "{ provider: ollama }"), &[], "words")["api_key"], "");
}

#[test]
fn variables_and_variants_work_inside_and_in_the_name() {
    let groups = "  one: { prompt: \"${variant.say}\", limiter: \"${var.pace}\" }\n  two: { prompt: two }\n";
    let tail = "variants:\n  A: { say: hi, who: one }\n  B: { say: ho, who: two }\nvars: { pace: slow }\n";
    let of = |with: &str, id: &str| settings(&format!("{}{tail}", text(groups, with)), &[("pace", "fast")], id);
    let own = of("{ provider: one, api_key: \"${variant.who}\" }", "words@B");
    assert_eq!((&own["prompt"], &own["limiter"]), (&"ho".into(), &"fast".into()));
    // Which group it is may itself depend on the variant.
    assert_eq!(of("{ provider: \"${variant.who}\" }", "words@A")["prompt"], "hi");
    assert_eq!(of("{ provider: \"${variant.who}\" }", "words@B")["prompt"], "two");
    // What the stage says itself is not looked for in the group: nothing varies then.
    let whole =
        format!("{}{tail}", text(groups, "{ provider: one, prompt: mine, api_key: \"${variant.say}${variant.who}\" }"));
    assert_eq!(settings(&whole, &[], "words@A")["prompt"], "mine");
}

#[test]
fn mistakes_are_shown_where_they_stand() {
    let group = "  big: { limiter: [1], promt: x }\n";
    insta::assert_snapshot!(brief(&text(group, "{ provider: big, prompt: 5 }")).join("\n"), @r#"
    3:19 the provider `big`: invalid type: sequence, expected text (limiter: The limiter.)
    3:24 the provider `big`: no stage that uses it has a setting `promt` (did you mean `prompt`?)
    6:88 the stage `words`: invalid type: integer `5`, expected text (prompt: A prompt.)
    "#);
    insta::assert_snapshot!(brief(&text("  big: { limiter: slow }\n", "{ provider: bigg, promt: x }")).join("\n"), @r#"
    6:75 there is no provider `bigg` (did you mean `big`? Else describe it under `providers:`)
    6:81 the stage `words`: unknown setting `promt` (did you mean `prompt`?)
    "#);
    insta::assert_snapshot!(brief(&text("  big: [1]\n  b g: { provider: big }\n", "{ provider: [big] }")).join("\n"), @"
    3:8 the provider `big` must be a mapping of settings, and this is a list (write `NAME: { base_url: …, api_key: … }`)
    4:3 `b g` is not a name: names hold letters, digits, `_` and `-`
    4:10 the provider `b g` names a provider itself (write its settings out)
    7:75 `provider` must be a name, and this is a list (name one of `providers:`)
    ");
}

#[test]
fn a_kind_that_asks_nobody_has_no_provider() {
    let text = "pipeline: p\nstages:\n  loved: { kind: read_table, with: { path: a.csv, provider: groq } }\n";
    insta::assert_snapshot!(brief(text).join("\n"), @"3:51 the stage `loved`: unknown setting `provider` (the settings are columns, path)");
}

#[test]
fn a_setting_of_a_group_is_found_in_the_group() {
    let text = text("  big: { limiter: slow, prompt: theirs }\n", "{ provider: big, limiter: own }");
    load(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let file = SourceFile { path: "p.yaml".into(), text: text.into() };
    let source = SourceText { files: vec![file], ..SourceText::default() };
    let origins = Origins::of(&source).unwrap();
    let id = InstanceId { stage: "words".into(), variant: None, seed: None };
    let at = |path: &str| origins.setting(&id, path, None).unwrap().to_string();
    assert_eq!([at("prompt"), at("limiter"), at("api_key")], ["p.yaml:3", "p.yaml:6", "p.yaml:6 (left out)"]);
}

proptest! {
    /// With a provider or with all written out: it is the same stage.
    #[test]
    fn a_group_is_as_if_it_were_written_out(own in 0..8_u8, group in 0..8_u8) {
        const NAMES: [&str; 3] = ["limiter", "prompt", "api_key"];
        let written = |of: u8, value: &str| -> Vec<String> {
            (0..3).filter(|bit| of & (1 << bit) != 0).map(|bit| format!("{}: {value}", NAMES[bit])).collect()
        };
        let group_text = format!("  big: {{ {} }}\n", written(group, "theirs").join(", "));
        let mut with = written(own, "own");
        let whole = [with.clone(), written(group & !own, "theirs")].concat();
        with.push("provider: big".to_owned());
        let by_group = settings(&text(&group_text, &format!("{{ {} }}", with.join(", "))), &[], "words");
        prop_assert_eq!(by_group, settings(&text("", &format!("{{ {} }}", whole.join(", "))), &[], "words"));
    }
}
