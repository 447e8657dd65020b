//! Time and cost, by stage and in all, and what the last run did not have to do.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::StageFacts;
use super::head::run_sentence;
use super::page::Page;
use super::words::{count, duration, moment};
use crate::drawing::{Bar, BarChart};
use crate::ground::{dollars, thousands};

/// So many bars are shown.
const BARS: usize = 14;

/// What the instances of a stage took together.
#[derive(Debug, Clone, Default)]
struct Sum {
    seconds: f64,
    requests: u64,
    tokens: u64,
    usd: Option<f64>,
    instances: u64,
    address: Option<String>,
}

impl Sum {
    fn add(&mut self, stage: &StageFacts) {
        self.seconds += stage.seconds.filter(|seconds| seconds.is_finite()).unwrap_or_default();
        self.requests += stage.requests;
        self.tokens += stage.tokens;
        if let Some(usd) = stage.usd {
            self.usd = Some(self.usd.unwrap_or_default() + usd);
        }
        self.instances += 1;
    }
}

/// Sentences, bars and the table of all stages.
pub(super) fn section(page: &Page<'_>) -> Option<Markup> {
    let stages = &page.report.stages;
    if stages.is_empty() {
        return None;
    }
    let mut by_stage: BTreeMap<&str, Sum> = BTreeMap::new();
    let mut all = Sum::default();
    for stage in stages {
        let sum = by_stage.entry(&stage.stage).or_default();
        sum.address = sum.address.take().or_else(|| page.stage_address(&stage.id));
        sum.add(stage);
        all.add(stage);
    }
    Some(html! {
        @if let Some(sentence) = run_sentence(page) { p { (sentence) } }
        p { (in_all(&all)) }
        div.plots {
            (bars(page, "Time by stage.", &by_stage, |sum| sum.seconds, |sum| duration(sum.seconds)))
            (bars(page, "Requests by stage.", &by_stage, |sum| sum.requests as f64, |sum| thousands(sum.requests)))
            (bars(page, "Cost by stage.", &by_stage, |sum| sum.usd.unwrap_or_default(), |sum| {
                format!("{}, {} tokens", dollars(sum.usd.unwrap_or_default()), thousands(sum.tokens))
            }))
        }
        details { summary { "Every stage in a table" } (table(page, &all)) }
    })
}

/// What it would take to make everything once, as far as it is known.
fn in_all(all: &Sum) -> String {
    let cost = all.usd.map_or_else(String::new, |usd| format!(", {}", dollars(usd)));
    let tokens = if all.tokens > 0 { format!(", {}", count(all.tokens, "token")) } else { String::new() };
    format!(
        "What is shown here took {} of work in {}, {}{tokens}{cost}.",
        duration(all.seconds),
        count(all.instances, "stage instance"),
        count(all.requests, "request")
    )
}

fn bars(
    page: &Page<'_>,
    title: &str,
    sums: &BTreeMap<&str, Sum>,
    value: impl Fn(&Sum) -> f64,
    text: impl Fn(&Sum) -> String,
) -> Markup {
    let mut most: Vec<(&str, &Sum)> =
        sums.iter().map(|(name, sum)| (*name, sum)).filter(|(_, sum)| value(sum) > 0.0).collect();
    most.sort_by(|a, b| value(b.1).total_cmp(&value(a.1)).then_with(|| a.0.cmp(b.0)));
    if most.is_empty() {
        return html! {};
    }
    let left_out = most.len().saturating_sub(BARS);
    let bar = |(name, sum): &(&str, &Sum)| {
        let times = if sum.instances > 1 { format!(" ×{}", sum.instances) } else { String::new() };
        Bar {
            name: format!("{name}{times}"),
            value: value(sum),
            text: text(sum),
            note: format!("{name}: {} in {}", text(sum), count(sum.instances, "instance")),
            href: sum.address.clone(),
        }
    };
    let chart = BarChart { label: title.to_owned(), bars: most.iter().take(BARS).map(bar).collect() };
    let rest = if left_out > 0 {
        format!(" {} with less in the table.", count(left_out as u64, "more stage"))
    } else {
        String::new()
    };
    page.figure(title, &format!("Instances of a stage are summed.{rest}"), chart.svg())
}

fn table(page: &Page<'_>, all: &Sum) -> Markup {
    let number = |number: u64| if number > 0 { thousands(number) } else { String::new() };
    let seconds = |seconds: Option<f64>| seconds.map_or_else(String::new, duration);
    let caption =
        html! { b { "Time and cost." } " Requests are those of the result; tokens and dollars are of all runs." };
    page.table(
        &caption,
        &html! {
            table.numbers {
                thead {
                    tr {
                        th { "Stage" } th.left { "last run" } th.left { "made" } th { "took" } th { "rows" } th { "requests" }
                        th { "tokens" } th { "cost" }
                    }
                }
                tbody {
                    @for stage in &page.report.stages {
                        tr {
                            th scope="row" { (page.stage_link(&stage.id)) }
                            td.left { @if let Some(outcome) = stage.outcome { (outcome) } }
                            td.left { @if let Some(millis) = stage.made_at_millis { (moment(millis)) } }
                            td { (seconds(stage.seconds)) }
                            td { (thousands(stage.rows)) }
                            td { (number(stage.requests)) }
                            td { (number(stage.tokens)) }
                            td { @if let Some(usd) = stage.usd { (dollars(usd)) } }
                        }
                    }
                }
                tfoot {
                    tr {
                        th scope="row" { "in all" } td {} td {} td { (seconds(Some(all.seconds))) } td {}
                        td { (number(all.requests)) } td { (number(all.tokens)) } td { @if let Some(usd) = all.usd { (dollars(usd)) } }
                    }
                }
            }
        },
    )
}
