//! The page as a whole: that it is well-formed, that nothing in it comes from
//! elsewhere, that its links lead somewhere, and that what it shows is there.

use std::collections::BTreeSet;

use super::super::fixture::{HOSTILE, hostile, whole};
use super::super::{Report, Slice, StageFacts};
use super::html;

/// Elements without an end.
const VOID: [&str; 4] = ["meta", "br", "input", "!DOCTYPE"];

/// The tags of a page, with their attributes, if each that is opened is closed in order.
fn tags(page: &str) -> Vec<String> {
    let without_own = page.replace(super::SCRIPT, "").replace(super::STYLE, "").replace(crate::drawing::CHART_CSS, "");
    let without_own = without_own.replace(crate::drawing::DAG_CSS, "");
    let mut open: Vec<String> = Vec::new();
    let mut tags = Vec::new();
    for part in without_own.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("no end: <{part}"));
        assert!(!text.contains('>'), "a bare > after <{tag}>: {text}");
        assert!(tag.matches('"').count().is_multiple_of(2), "quotes: <{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of order");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
        tags.push(tag.to_owned());
    }
    assert_eq!(open, Vec::<String>::new());
    tags
}

fn values_of<'a>(tags: &'a [String], attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    let value = |tag: &'a String| Some(tag.split_once(&start)?.1.split('"').next().unwrap());
    tags.iter().filter_map(value).collect()
}

#[test]
fn a_page_is_well_formed_and_every_link_leads_to_a_place_in_it() {
    let page = html(&whole());
    let tags = tags(&page);
    let ids = values_of(&tags, "id");
    let places: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), places.len(), "an id stands for one place");
    for address in values_of(&tags, "href") {
        let place = address.strip_prefix('#').unwrap_or_else(|| panic!("{address} leads away"));
        assert!(places.contains(place), "nothing is at {address}");
    }
}

#[test]
fn nothing_is_fetched_and_only_our_script_may_run() {
    // The name of SVG is a name and no address.
    let page = html(&whole()).replace("http://www.w3.org/2000/svg", "");
    assert!(page.contains("default-src 'none'"), "{}", &page[..600]);
    for way in ["http:", "https:", "src=\"", "url(", "@import", "<link", "<iframe", "<img", "<object"] {
        assert!(!page.contains(way), "{way}");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert!(super::policy().contains("script-src 'sha256-"));
}

#[test]
fn names_that_want_to_be_markup_stay_names() {
    let page = html(&hostile());
    let tags = tags(&page);
    assert_eq!(page.matches("<script").count(), 1, "only our own");
    let named = |name: &str| tags.iter().any(|tag| tag.starts_with(name));
    assert!(!named("img") && !named("b0x"), "an element from data");
    let handler = |tag: &&String| {
        tag.contains(" on") && tag.contains('=') && tag.split('"').step_by(2).any(|out| out.contains(" on"))
    };
    assert_eq!(tags.iter().find(handler), None, "an attribute from data");
    for address in values_of(&tags, "href") {
        assert!(address.starts_with('#') && !address.contains("alert"), "{address}");
    }
    assert!(page.matches("&lt;script&gt;alert").count() > 40, "what was hostile is shown as it is");
    assert!(!page.contains(HOSTILE));
}

#[test]
fn every_table_and_figure_of_a_made_up_world_says_so() {
    let report = whole();
    let page = html(&Report { synthetic: Some("sandbox 7".to_owned()), ..report.clone() });
    for caption in page.split("<figcaption>").skip(1) {
        let caption = caption.split("</figcaption>").next().unwrap();
        assert!(caption.contains("class=\"synthetic\""), "{caption}");
    }
    assert!(page.contains("class=\"banner\"") && page.contains("sandbox 7"));
    let stages = report.stages.into_iter().map(|stage| StageFacts { synthetic: false, ..stage }).collect();
    let page = html(&Report { synthetic: None, stages, ..report });
    assert!(!page.contains("class=\"banner\"") && !page.contains("class=\"synthetic\""));
}

#[test]
fn a_number_leads_to_its_words_and_from_there_to_the_stages() {
    let page = html(&whole());
    let (_, line) = page.split_once(" id=\"b0r0-row\"").unwrap();
    let line = line.split("</tr>").next().unwrap();
    for name in ["hr", "ndcg", "warm", "verdict", "seeds"] {
        assert!(line.contains(&format!("href=\"#b0r0-{name}\"")), "{name}: {line}");
    }
    let (_, panel) = page.split_once("<aside class=\"explain\" id=\"b0r0\"").unwrap();
    let panel = panel.split("</aside>").next().unwrap();
    for words in [
        "For 86 of 466 users the item held out for the test part is among the first 10 of all items",
        "95 % interval is 0.1512 to 0.2210",
        "measured by <a",
        ">evaluate@V4</a>",
        ">train@V4</a>",
        "texts of <a",
        ">split</a>",
        "Holm",
    ] {
        assert!(panel.contains(words), "{words}: {panel}");
    }
}

/// The experiment with V4 and the baseline picked on the test part.
fn picked_on_test() -> Report {
    let mut report = whole();
    for row in report.boards[0].rows.iter_mut().filter(|row| ["V4", "CF"].contains(&row.variant.as_str())) {
        row.on_test = true;
        row.verdict = row.verdict.as_ref().map(|verdict| format!("{verdict}, picked on test"));
    }
    report
}

#[test]
fn what_was_picked_on_test_is_marked_in_every_table_and_plot() {
    let mut report = picked_on_test();
    assert!(!html(&whole()).contains('†'));
    let page = html(&report);
    for figure in page.split("<figure").skip(1) {
        let figure = figure.split("</figure>").next().unwrap();
        let bare = figure.split("V4").skip(1).filter(|rest| rest.starts_with(['<', ':', ',', ' ', '"']));
        let bare = bare.filter(|rest| !rest.starts_with(" †")).count();
        // The pipeline's drawing, the songs and the learning curves name the variant, not its numbers on test.
        let is_of_board = ["Table 2", "Leaderboard.", "Beyond accuracy.", "by variant.", "held-out items are ranked"];
        if is_of_board.iter().any(|title| figure.contains(title)) {
            assert!(figure.contains("V4 †") && bare == 0, "{figure}");
        }
    }
    assert!(page.matches("† its epoch was picked on the test part").count() >= 4);
    let panel = |page: &str, row: usize| {
        let (_, panel) = page.split_once(&format!("id=\"b0r{row}-verdict\"")).unwrap();
        panel.split("</div>").next().unwrap().to_owned()
    };
    let base = report.boards[0].rows.iter().position(|row| row.variant == "CF").unwrap();
    assert!(panel(&page, base).contains("held against this one. Its epoch was picked on the test part"));
    report.boards[0].baseline = None;
    let alone = panel(&html(&report), 0);
    assert!(alone.contains("names no baseline") && alone.contains("picked on the test part"), "{alone}");
    assert!(!alone.contains("sign-flip"), "no test was run: {alone}");
}

#[test]
fn curves_say_what_they_are_measured_on() {
    let mut report = whole();
    assert!(html(&report).contains("HR@10 while training, on validation."));
    report.curves[0].on_test = true;
    let page = html(&report);
    assert!(page.contains("HR@10 while training, on validation, of names with † on test."), "{page}");
    for curve in &mut report.curves {
        curve.on_test = true;
    }
    assert!(html(&report).contains("HR@10 while training, on test."));
}

#[test]
fn cautions_and_the_mark_of_test_are_in_every_format() {
    let report = picked_on_test();
    let markdown = super::super::markdown(&report);
    let caution = "for 12 users a cut falls between equal times";
    assert!(markdown.contains(&format!("**Cautions**\n\n- split: {caution}")), "{markdown}");
    let latex = super::super::latex(&report);
    assert!(latex.contains(&format!("\\item split: {caution}")), "{latex}");
    let page = html(&report);
    let (top, _) = page.split_once("id=\"results\"").unwrap();
    assert!(top.contains(&format!("<b>Cautions</b><ul><li>split: {caution}")), "{top}");
    for (text, mark) in [(&markdown, "V4 †"), (&latex, "V4 \\textdagger{}")] {
        let of_board = text.lines().filter(|line| line.contains("0.1845") && !line.contains("ranks highest"));
        let marked: Vec<bool> = of_board.map(|line| line.contains(mark)).collect();
        assert!(marked.len() >= 2 && marked.iter().all(|marked| *marked), "{text}");
        assert!(text.matches("its epoch was picked on the test part").count() >= 3, "{text}");
    }
    assert!(markdown.contains("Beyond accuracy: leaderboard, on test") && latex.contains("& MRR & Recall@10 &"));
}

#[test]
fn a_bin_of_few_targets_is_not_drawn() {
    let mut report = whole();
    assert!(html(&report).contains("1–8: "));
    for row in &mut report.boards[0].rows {
        row.by_popularity[0] = Some(Slice { hr: 0.0, of: 9 });
    }
    assert!(!html(&report).contains("1–8: "));
}

#[test]
fn a_report_of_nothing_is_a_page_too() {
    let page = html(&Report { title: "empty".to_owned(), ..Report::default() });
    tags(&page);
    assert!(!page.contains("<h2>") && page.contains("<h1>empty</h1>"), "{page}");
}

#[test]
fn the_page_of_a_whole_experiment_is_small_and_always_the_same() {
    let page = html(&whole());
    assert_eq!(page, html(&whole()));
    assert!(page.len() < 600_000, "{} bytes", page.len());
}
