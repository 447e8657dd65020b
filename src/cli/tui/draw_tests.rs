//! What the dashboard looks like: whole screens, and that no size of a terminal
//! is too small.

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::dashboard::{Dashboard, Question};
use super::draw::draw;
use super::facts::Facts;
use super::fixtures::{at, busy, facts, finished, requests};
use super::keys::{Key, Reply, Wish};
use super::look::Look;
use crate::engine::{Event, Outcome};

/// The screen, without blanks at the ends of lines.
fn screen(dashboard: &Dashboard, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let look = Look { colour: false };
    terminal.draw(|frame| draw(dashboard, at(62), look, frame.area(), frame.buffer_mut())).expect("a screen");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width.max(1)));
    let line = |row: &[ratatui::buffer::Cell]| {
        row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
    };
    rows.map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_usual_terminal_shows_the_stages_and_one_pane() {
    assert_snapshot!(screen(&busy(&["V1", "V2"]), 80, 24), @r"
    music  5 of 8 ended  1 running  1 failed  2 skipped  1 min 2 s  59 requests  5,8
    ─ stages ───────────────────────────────────────────────────────────────────────
     = users       cached
    ↑✓ tags        1,200 rows  3.2 s  34 requests
     > summaries   ████░░░░░░ 420/1,000  1 min 58 s left  12 failed  waiting 41 s
     ✗ split       failed: could not split
    ↓- train ×2    --  2 skipped
    ↓-   @V1       skipped: `split` failed
    ↓-   @V2       skipped: `split` failed
     · evaluate ×2 ··  2 waiting
     ·   @V1       waits for its turn
     ·   @V2       waits for its turn
    ─ details ──────────────────────────────────────────────────────────────────────
    summaries  summarize
    running for 56 s
    why it runs
      it never ran
    rows
      420 of 1,000 rows  4.9/s  failed 12 (12 HTTP 503)  5,800 tokens  $0.19  1 min
        58 s left  waiting 41 s: its 6,000 tokens a minute are used up
      408 ok, 12 failed (12 HTTP 503)
    limiter
      groq
    q stop  ↑↓ select  Enter fold  f failed  Tab limits  ? help
    ");
}

#[test]
fn a_large_terminal_shows_all_panes() {
    assert_snapshot!(screen(&busy(&["V1", "V2"]), 120, 40), @r"
    music  5 of 8 ended  1 running  1 failed  2 skipped  1 min 2 s  59 requests  5,800 tokens  $0.19
    ─ stages ────────────────────────────────────────────────────────────────── ─ details ──────────────────────────────────
     = users       cached                                                       summaries  summarize
    ↑✓ tags        1,200 rows  3.2 s  34 requests                               running for 56 s
     > summaries   ████░░░░░░ 420/1,000  1 min 58 s left  $0.19  waiting 41 s   why it runs
     ✗ split       failed: could not split                                        it never ran
    ↓- train ×2    --  2 skipped                                                rows
    ↓-   @V1       skipped: `split` failed                                        420 of 1,000 rows  4.9/s  failed 12 (12
    ↓-   @V2       skipped: `split` failed                                          HTTP 503)  5,800 tokens  $0.19  1 min 58
     · evaluate ×2 ··  2 waiting                                                    s left  waiting 41 s: its 6,000 tokens a
     ·   @V1       waits for its turn                                               minute are used up
     ·   @V2       waits for its turn                                             408 ok, 12 failed (12 HTTP 503)
                                                                                limiter
                                                                                  groq
                                                                                warnings
                                                                                  a short answer
                                                                                reads
                                                                                  tags
                                                                                read by
                                                                                  train@V1, train@V2
                                                                                settings
                                                                                  of: summaries
                                                                                ─ limits: what this run sent ───────────────
                                                                                groq  waits 41 s: its 6,000 tokens a minute
                                                                                  ████████░░  25 of 30 requests a minute
                                                                                  ░░░░░░░░░░  25 of 14,400 requests a day
                                                                                  ██████████  5,800 of 6,000 tokens a minute
                                                                                  █░░░░░░░░░  budget: $0.19 of $2.00 in this
                                                                                lastfm
                                                                                  ░░░░░░░░░░  0.0 of 5 requests a second
    ─ log ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    > split  it never ran
    ✓ tags  1,200 rows  34 requests  3.2 s
    > summaries  it never ran
    ! summaries: a short answer
    ✗ split  failed
      error: could not split
        caused by: no user has three rows
        hint: lower `min_per_user`
    q stop  ↑↓ select  Enter fold  f failed  Tab limits  ? help
    ");
}

#[test]
fn many_variants_share_a_row_until_they_are_unfolded() {
    let mut dashboard = busy(&["CF", "V1", "V2.1", "V2.2", "V3.1", "V3.2", "V4"]);
    dashboard.key(Key::End);
    dashboard.key(Key::Up);
    assert_snapshot!(screen(&dashboard, 80, 24), @r"
    music  10 of 18 ended  1 running  1 failed  7 skipped  1 min 2 s  59 requests  5
    ─ stages ───────────────────────────────────────────────────────────────────────
     = users       cached
     ✓ tags        1,200 rows  3.2 s  34 requests
    ↑> summaries   ████░░░░░░ 420/1,000  1 min 58 s left  12 failed  waiting 41 s
    ↑✗ split       failed: could not split
     - train ×7    -------  7 skipped
    ↓· evaluate ×7 ·······  7 waiting
    ─ details ──────────────────────────────────────────────────────────────────────
    train  train_two_tower, 7 instances
    - train@CF  skipped: `split` failed
    - train@V1  skipped: `split` failed
    - train@V2.1  skipped: `split` failed
    - train@V2.2  skipped: `split` failed
    - train@V3.1  skipped: `split` failed
    - train@V3.2  skipped: `split` failed
    - train@V4  skipped: `split` failed
    Enter gives each a row of its own





    q stop  ↑↓ select  Enter fold  f failed  Tab limits  ? help
    ");
    dashboard.key(Key::Enter);
    dashboard.key(Key::Next);
    assert_snapshot!(screen(&dashboard, 80, 24), @r"
    music  10 of 18 ended  1 running  1 failed  7 skipped  1 min 2 s  59 requests  5
    ─ stages ───────────────────────────────────────────────────────────────────────
     = users       cached
     ✓ tags        1,200 rows  3.2 s  34 requests
    ↑> summaries   ████░░░░░░ 420/1,000  1 min 58 s left  12 failed  waiting 41 s
    ↑✗ split       failed: could not split
     - train ×7    -------  7 skipped
     -   @CF       skipped: `split` failed
     -   @V1       skipped: `split` failed
     -   @V2.1     skipped: `split` failed
     -   @V2.2     skipped: `split` failed
     -   @V3.1     skipped: `split` failed
     -   @V3.2     skipped: `split` failed
    ─ limits: what this run sent ───────────────────────────────────────────────────
    groq  waits 41 s: its 6,000 tokens a minute are used up
      ████████░░  25 of 30 requests a minute
      ░░░░░░░░░░  25 of 14,400 requests a day
      ██████████  5,800 of 6,000 tokens a minute
      █░░░░░░░░░  budget: $0.19 of $2.00 in this run
    lastfm
      ░░░░░░░░░░  0.0 of 5 requests a second


    q stop  ↑↓ select  Enter fold  f failed  Tab log  ? help
    ");
}

#[test]
fn only_what_failed_is_shown_where_that_is_wanted() {
    let mut dashboard = busy(&["V1"]);
    dashboard.key(Key::Letter('f'));
    dashboard.key(Key::Previous);
    assert_snapshot!(screen(&dashboard, 80, 16), @r"
    music  4 of 6 ended  1 running  1 failed  1 skipped  1 min 2 s  59 requests  5,8
     > summaries ████░░░░░░ 420/1,000  1 min 58 s left  12 failed  waiting 41 s
     ✗ split     failed: could not split

    ─ log ──────────────────────────────────────────────────────────────────────────
    = users  cached
    > tags  setting max_tags: 4 -> 5
    > split  it never ran
    ✓ tags  1,200 rows  34 requests  3.2 s
    > summaries  it never ran
    ! summaries: a short answer
    ✗ split  failed
      error: could not split
        caused by: no user has three rows
        hint: lower `min_per_user`
    q stop  ↑↓ select  Enter fold  f all  Tab details  ? help
    ");
    dashboard.key(Key::Escape);
    assert!(screen(&dashboard, 80, 24).contains("evaluate@V1"));
}

#[test]
fn help_stands_over_the_rest_until_a_key_is_pressed() {
    let mut dashboard = busy(&["V1"]);
    let before = screen(&dashboard, 100, 24);
    dashboard.key(Key::Letter('?'));
    assert_snapshot!(screen(&dashboard, 100, 24), @r"
    music  4 of 6 ended  1 running  1 failed  1 skipped  1 min 2 s  59 requests  5,800 tokens  $0.19
    ─ stages ─────────────────────────────────────────────────── ─ details ─────────────────────────────
     = users       cached                                        summaries  summarize
    ↑✓ tags        1,200 rows  3.2 s  34 requests                running for 56 s
     > summaries   420/1,000  1 min 58 s left  waiting 41 s      why it runs
     ✗ split       failed: could not split                         it never ran
    ↓- train@┌─keys──────────────────────────────────────────────────────────────────────────┐
     · evalua│ q, Ctrl-C   stop the run: what was sent is waited for; again to abort at once │ailed 12
             │ up, down    select a stage; also k and j, Home and End                        │ns  $0.19
             │ Enter       a row for each variant of the stage, or one for all               │41 s: its
             │ f           only what failed, or has rows that failed                         │──────────
             │ Tab         another pane: details, limits, log; Shift-Tab goes back           │okens a mi
             │ PgUp, PgDn  scroll the pane                                                   │ts a minut
             │ Esc         follow the run again                                              │quests a d
             │ ?           this help                                                         │tokens a m
             │ ↑ ↓         before a name: the selected stage reads it, or is read by it      │f $2.00 in
             └───────────────────────────────────────────────────────────────────────────────┘
                                                                   ░░░░░░░░░░  0.0 of 5 requests a secon
    ─ log ──────────────────────────────────────────────────────────────────────────────────────────────
    ✗ split  failed
      error: could not split
        caused by: no user has three rows
        hint: lower `min_per_user`
    q stop  ↑↓ select  Enter fold  f failed  Tab limits  ? help
    ");
    dashboard.key(Key::Down);
    assert_eq!(screen(&dashboard, 100, 24), before);
}

#[test]
fn a_question_takes_the_keys_until_it_is_answered() {
    let mut dashboard = busy(&["V1"]);
    let question = "`summaries` will need about $3.10, and the budget of `groq` has $1.20 left in this run";
    let ask = |title, words: &str, choice: &str, may_raise| {
        Some(Question { title, words: words.into(), choice: choice.into(), may_raise })
    };
    dashboard.question = ask("a budget is not enough", question, "go on until it is spent? [y/N/raise]", true);
    assert!(screen(&dashboard, 60, 20).contains("a budget is not enough"));
    assert_eq!(dashboard.key(Key::Down), None);
    assert_eq!(dashboard.key(Key::Letter('y')), Some(Wish::Answer(Reply::Yes)));
    assert_eq!(dashboard.key(Key::Letter('r')), Some(Wish::Answer(Reply::Raise)));
    assert_eq!(dashboard.key(Key::Enter), Some(Wish::Answer(Reply::No)));
    dashboard.question = ask("jobs are on the cluster", "one waits", "cancel it? [y/N]", false);
    assert_eq!(dashboard.key(Key::Letter('r')), None, "there is nothing to raise");
    assert_eq!(dashboard.key(Key::Letter('y')), Some(Wish::Answer(Reply::Yes)));
    assert_eq!(dashboard.key(Key::Stop), Some(Wish::Stop));
    assert!(dashboard.is_stopping);
}

#[test]
fn synthetic_data_and_a_stop_are_said_at_the_top() {
    let mut dashboard = Dashboard::new(facts(&[]));
    assert!(screen(&dashboard, 80, 24).starts_with("music  planning"));
    let start = Event::RunStarted {
        run: "r".into(),
        pipeline: "music".into(),
        stages: 4,
        fresh: 0,
        sandbox: Some("sandbox:ab".into()),
        at_millis: 0,
    };
    dashboard.event(&start, at(0));
    let second = |dashboard: &Dashboard| screen(dashboard, 80, 24).lines().nth(1).unwrap_or_default().to_owned();
    assert!(second(&dashboard).contains("all data is synthetic"));
    dashboard.key(Key::Stop);
    assert!(second(&dashboard).contains("stopping"));
}

#[test]
fn the_selection_follows_the_run_until_one_is_chosen() {
    let mut dashboard = busy(&["V1"]);
    let selected = |dashboard: &Dashboard| {
        let rows = dashboard.rows();
        rows[dashboard.selected(&rows)].name().to_owned()
    };
    assert_eq!(selected(&dashboard), "summaries");
    dashboard.event(&finished("summaries", Outcome::Ran, requests(25, 5800, 0.19)), at(70));
    assert_eq!(selected(&dashboard), "evaluate@V1", "nothing runs, and it waits");
    dashboard.key(Key::Home);
    dashboard.key(Key::Up);
    assert_eq!(selected(&dashboard), "users");
    dashboard.key(Key::Down);
    assert_eq!(selected(&dashboard), "tags");
    dashboard.key(Key::Escape);
    assert_eq!(selected(&dashboard), "evaluate@V1");
}

#[test]
fn no_terminal_is_too_small() {
    let mut dashboard = busy(&["CF", "V1", "V2.1", "V2.2", "V3.1", "V3.2", "V4"]);
    for key in [Key::Down, Key::Next, Key::PageDown, Key::Next, Key::PageUp, Key::Letter('?'), Key::Enter] {
        dashboard.key(key);
        for (width, height) in (0..26).flat_map(|width| (0..14).map(move |height| (width, height))) {
            screen(&dashboard, width, height);
        }
        screen(&dashboard, 300, 5);
        screen(&dashboard, 5, 100);
    }
    let words = "a long question ".repeat(20);
    dashboard.question = Some(Question { title: "a question", words, choice: "choose".into(), may_raise: false });
    for (width, height) in [(20, 5), (1, 1), (4, 3), (12, 30)] {
        screen(&dashboard, width, height);
    }
    let nothing = Dashboard::new(Facts::default());
    screen(&nothing, 20, 5);
    screen(&nothing, 120, 40);
}
