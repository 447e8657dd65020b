//! What the kinds that ask an API about each row have in common: asking for
//! distinct rows concurrently and in order, statuses, keys, and the share of
//! rows that may fail. No kind by itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::task::Poll;

use arrow::array::{Array, StringArray};
use futures::{FutureExt, StreamExt};
use rayon::prelude::*;

use crate::ground::Environment;
use crate::memo::Tally;
use crate::stage::{Known, RequiredVariable, RowEnd, SettingProblem, StageContext, StageError};
use crate::table::{Table, TableError, complete};
use crate::web::lastfm::Miss;
use crate::web::{Call, CallError, Forecast, Secret, WebError};

/// The row has what was asked for.
pub(super) const OK: &str = "ok";
/// The provider knows it, but has nothing.
pub(super) const EMPTY: &str = "empty";
/// The provider does not know it.
pub(super) const NOT_FOUND: &str = "not_found";
/// Only its owner may see it.
pub(super) const PRIVATE: &str = "private";
/// The row has nothing to ask with.
pub(super) const NO_NAME: &str = "skipped: no artist or title";

/// Where a Last.fm key comes from, for [`required_variables`].
pub(super) const LASTFM_KEY: &str = "a free key from https://www.last.fm/api/account/create";

/// The default of `max_failed_rows`.
pub(super) fn default_max_failed_rows() -> f64 {
    0.1
}

/// The fewest entries that a server may put on a page without being cut off.
const SMALLEST_PAGE: u64 = 50;

/// The most pages of a list that are asked for where so many entries are
/// wanted: a server that never comes to an end is given up.
pub(super) fn most_pages(wanted: u64) -> u64 {
    wanted.div_ceil(SMALLEST_PAGE) + 1
}

/// Whether a page is the last of its list: by what the server says of its
/// pages, else by its being not full.
pub(super) fn is_last_page(page: u64, pages: Option<i64>, found: u64, full: u64) -> bool {
    found == 0 || pages.map_or(found < full, |pages| page >= pages.max(0).unsigned_abs())
}

/// The default of `limiter` for Last.fm.
pub(super) fn default_lastfm_limiter() -> String {
    "lastfm".to_owned()
}

/// The default of `api_key` for Last.fm.
pub(super) fn default_lastfm_key() -> String {
    "${env.LASTFM_API_KEY}".to_owned()
}

/// `failed: …`, on one line.
pub(super) fn failed(reason: &str) -> String {
    format!("failed: {}", reason.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The status of a row for which Last.fm has nothing.
pub(super) fn status_of(miss: &Miss) -> String {
    match miss {
        Miss::NotFound => NOT_FOUND.to_owned(),
        Miss::Private => PRIVATE.to_owned(),
        Miss::Unreadable(what) => failed(what),
    }
}

/// What to do with a call that has no answer: a status for its row, or the end
/// of the stage.
pub(super) fn row_status(error: CallError) -> Result<String, StageError> {
    match error {
        CallError::Row(failure) => Ok(failed(&failure.reason)),
        CallError::Whole(WebError::Cancelled) => Err(StageError::Cancelled),
        CallError::Whole(error) => Err(error.into()),
    }
}

/// The key in a setting; a sandbox and the memo are given none that is real.
pub(super) fn api_key(context: &StageContext, setting: &str) -> Result<Secret, StageError> {
    if !context.web.needs_key() {
        return Ok(Secret::new("none"));
    }
    Ok(Secret::new(context.environment.expand(setting)?))
}

/// The variables that a setting refers to.
pub(super) fn required_variables(setting: &str, obtain: &str) -> Vec<RequiredVariable> {
    let names = Environment::references(setting).into_iter();
    names.map(|name| RequiredVariable { name, obtain: obtain.to_owned() }).collect()
}

/// Refuses a share outside 0 to 1.
pub(super) fn check_share(path: &str, share: f64, problems: &mut Vec<SettingProblem>) {
    if !(0.0..=1.0).contains(&share) {
        problems.push(SettingProblem::new(path, format!("`{path}` is {share}")).hint("a share lies between 0 and 1"));
    }
}

/// Refuses a count of 0.
pub(super) fn check_positive(path: &str, count: u64, problems: &mut Vec<SettingProblem>) {
    if count == 0 {
        problems.push(SettingProblem::new(path, format!("`{path}` is 0")).hint("give at least 1"));
    }
}

/// Refuses prices that are none.
pub(super) fn check_prices(prices: &[(&str, Option<f64>)], problems: &mut Vec<SettingProblem>) {
    for (path, price) in prices {
        if let Some(price) = price.filter(|price| !(price.is_finite() && *price >= 0.0)) {
            let problem = SettingProblem::new(*path, format!("`{path}` is {price}"));
            problems.push(problem.hint("a price is a number of dollars, at least 0"));
        }
    }
}

/// The checked settings, or all that is wrong with them.
pub(super) fn checked<T>(settings: T, problems: Vec<SettingProblem>) -> Result<T, Vec<SettingProblem>> {
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// Rows that ask for the same thing, put together.
#[derive(Debug)]
pub(super) struct Distinct<K> {
    /// What is asked for, each once, in the order of first appearance.
    pub(super) keys: Vec<K>,
    /// For each row, which of `keys` it asks for.
    pub(super) of_row: Vec<usize>,
    /// How many rows ask for each of `keys`.
    pub(super) rows: Vec<u64>,
}

/// Puts rows together that ask for the same thing.
pub(super) fn distinct<K: Ord + Clone>(rows: impl IntoIterator<Item = K>) -> Distinct<K> {
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    let mut distinct = Distinct { keys: Vec::new(), of_row: Vec::new(), rows: Vec::new() };
    for row in rows {
        let place = *places.entry(row).or_insert_with_key(|key| {
            distinct.keys.push(key.clone());
            distinct.rows.push(0);
            distinct.keys.len() - 1
        });
        distinct.of_row.push(place);
        distinct.rows[place] += 1;
    }
    distinct
}

/// What came of asking about a row.
pub(super) trait HasStatus {
    /// How it ended: what stands in the column `status`.
    fn status(&self) -> &str;
}

/// A value and the status of its row.
impl<T> HasStatus for (T, String) {
    fn status(&self) -> &str {
        &self.1
    }
}

/// A value, or why there is none.
impl<T> HasStatus for Result<T, String> {
    fn status(&self) -> &str {
        self.as_ref().err().map_or(OK, String::as_str)
    }
}

/// Runs `ask` for 0 to `rows.len()`, `width` at a time, and gives the results in
/// that order whatever order they come in. `rows` is how far each moves the
/// progress on, as soon as it is answered: one that has to wait for long hides
/// no other, and keeps no other from being asked.
///
/// # Errors
/// The error of `ask` that comes first, or [`StageError::Cancelled`].
pub(super) async fn ask_each<R, F>(
    context: &StageContext,
    rows: &[u64],
    width: usize,
    ask: impl Fn(usize) -> F,
) -> Result<Vec<R>, StageError>
where
    R: HasStatus,
    F: Future<Output = Result<R, StageError>>,
{
    let ask = move |place: usize| {
        let answer = ask(place);
        async move { (place, noticing_a_wait(answer).await) }
    };
    let mut results: Vec<Option<R>> = std::iter::repeat_with(|| None).take(rows.len()).collect();
    let mut answers = futures::stream::iter((0..rows.len()).map(ask)).buffer_unordered(width.max(1));
    while let Some((place, (result, asked))) = answers.next().await {
        context.check_cancelled()?;
        let result = result?;
        context.progress.ended(RowEnd { status: result.status(), rows: rows[place], asked });
        results[place] = Some(result);
    }
    Ok(results.into_iter().flatten().collect())
}

/// What a future gives, and whether it had to wait for it: what the memo holds
/// is there at once.
pub(super) async fn noticing_a_wait<T>(future: impl Future<Output = T>) -> (T, bool) {
    let mut future = std::pin::pin!(future);
    match futures::poll!(future.as_mut()) {
        Poll::Ready(value) => (value, false),
        Poll::Pending => (future.await, true),
    }
}

/// How many rows are known, where each asks one request or none, and what the others will take.
pub(super) fn known_calls(
    context: &StageContext,
    rows: usize,
    call: impl Fn(usize) -> Option<Call> + Sync,
) -> Option<Known> {
    let (tally, expected) = context.web.tally(rows, call)?;
    Some(Known::to_ask(tally, expected))
}

/// How many rows are known, where each may ask several requests: `ask` is what
/// is run for each of the distinct ones, here with a session that only the memo
/// answers. `rows` is how many rows each stands for.
pub(super) fn known_by_asking<R, F>(rows: &[u64], ask: impl Fn(usize) -> F + Sync) -> Known
where
    F: Future<Output = Result<R, StageError>>,
{
    // Nothing is waited for: what the memo does not hold is an error at once.
    let known = |place: usize| ask(place).now_or_never().is_some_and(|result| result.is_ok());
    let known: Vec<bool> = (0..rows.len()).into_par_iter().map(known).collect();
    let count = |wanted: bool| rows.iter().zip(&known).filter(move |(_, known)| **known == wanted);
    let tally = Tally {
        rows: rows.iter().sum(),
        known: count(true).map(|(rows, _)| rows).sum(),
        left: count(false).count() as u64,
    };
    // What the first answer says decides whether there is a second request.
    Known::to_ask(tally, Forecast { at_least: tally.left > 0, ..Forecast::of_requests(tally.left) })
}

/// Fails the stage if more than the share `most` of its rows failed, and tells
/// the user if some did.
///
/// # Errors
/// [`StageError::Failed`] with the counts and the most common reason.
pub(super) fn check_failures<'a>(
    context: &StageContext,
    what: &str,
    statuses: impl Iterator<Item = &'a str>,
    most: f64,
) -> Result<(), StageError> {
    let mut all = 0_u64;
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for status in statuses {
        all += 1;
        if let Some(reason) = status.strip_prefix("failed: ") {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let count: u64 = reasons.values().sum();
    let Some((reason, _)) = reasons.iter().max_by_key(|(_, count)| **count) else { return Ok(()) };
    let told = format!("{count} of {all} {what} failed, most often: {reason}");
    if count as f64 > most * all as f64 {
        let hint = format!("run again: what was fetched is kept; or raise `max_failed_rows` above {most}");
        return Err(StageError::with_hint(told, hint));
    }
    context.progress.warn(&told);
    Ok(())
}

/// An artist and a title to ask with, where a row has both.
pub(super) type Song = Option<(String, String)>;

/// The `item_id` of each row, and the distinct pairs of `artist` and `title`.
pub(super) fn songs(table: &Table) -> Result<(StringArray, Distinct<Song>), StageError> {
    let pairs = Pairs::of(table)?;
    let owned = |(artist, title): (&str, &str)| (artist.to_owned(), title.to_owned());
    let songs = distinct((0..pairs.len()).map(|row| pairs.pair(row).map(owned)));
    Ok((complete("item_id", table.strings("item_id")?)?, songs))
}

/// The columns `artist` and `title`.
pub(super) struct Pairs {
    artists: StringArray,
    titles: StringArray,
}

impl Pairs {
    /// The pairs of a table.
    pub(super) fn of(table: &Table) -> Result<Self, TableError> {
        Ok(Self { artists: table.strings("artist")?, titles: table.strings("title")? })
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.artists.len()
    }

    /// A row's artist and title without white space around them, where it has both.
    pub(super) fn pair(&self, row: usize) -> Option<(&str, &str)> {
        let given = |texts: &'_ StringArray| texts.is_valid(row) && !texts.value(row).trim().is_empty();
        let both = given(&self.artists) && given(&self.titles);
        both.then(|| (self.artists.value(row).trim(), self.titles.value(row).trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{MemorySink, Progress};
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    fn context() -> StageContext {
        StageContext::for_test(vec![], Box::new(MemorySink::default()))
    }

    proptest! {
        #[test]
        fn distinct_rows_lead_back_to_their_keys(rows in proptest::collection::vec(0..5_u8, 0..20)) {
            let found = distinct(rows.clone());
            let back: Vec<u8> = found.of_row.iter().map(|place| found.keys[*place]).collect();
            prop_assert_eq!(back, rows.clone());
            prop_assert_eq!(found.rows.iter().sum::<u64>(), rows.len() as u64);
            let mut once = found.keys.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), found.keys.len());
        }
    }

    #[tokio::test]
    async fn results_keep_the_order_of_the_rows() {
        let context = context();
        let ask = |n: usize| async move {
            for _ in 0..(7 - n) {
                tokio::task::yield_now().await;
            }
            Ok((n, OK.to_owned()))
        };
        for width in [1, 3, 100] {
            let results = ask_each(&context, &[1; 7], width, ask).await.expect("all answered");
            let numbers: Vec<usize> = results.into_iter().map(|(n, _)| n).collect();
            assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
        }
        context.cancel.cancel();
        assert!(matches!(ask_each(&context, &[1; 7], 2, ask).await, Err(StageError::Cancelled)));
    }

    #[derive(Default)]
    struct Ends(Mutex<Vec<(String, u64, bool)>>);

    impl Progress for Ends {
        fn total(&self, _rows: u64) {}
        fn advance(&self, _rows: u64) {}
        fn ended(&self, end: RowEnd<'_>) {
            self.0.lock().unwrap().push((end.status.to_owned(), end.rows, end.asked));
        }
        fn note(&self, _text: &str) {}
        fn warn(&self, _text: &str) {}
    }

    #[tokio::test]
    async fn a_row_that_waits_hides_no_other_and_holds_none_up() {
        let ends = Arc::new(Ends::default());
        let context = StageContext { progress: Arc::<Ends>::clone(&ends), ..context() };
        let ends = &ends;
        let ask = |n: usize| async move {
            // The first waits until all others are told, which are more than the width.
            while n == 0 && ends.0.lock().unwrap().len() < 6 {
                tokio::task::yield_now().await;
            }
            Ok::<_, StageError>(if n == 4 { Err(NOT_FOUND.to_owned()) } else { Ok(n) })
        };
        let results = ask_each(&context, &[2; 7], 2, ask).await.expect("all answered");
        let expected = [Ok(0), Ok(1), Ok(2), Ok(3), Err(NOT_FOUND.to_owned()), Ok(5), Ok(6)];
        assert_eq!(results, expected);
        let mut told = ends.0.lock().unwrap().clone();
        assert_eq!(told.pop(), Some((OK.to_owned(), 2, true)), "the one that waited comes last");
        assert!(told.iter().all(|(_, rows, asked)| *rows == 2 && !asked));
        assert_eq!(told[3].0, NOT_FOUND);
    }

    #[test]
    fn some_rows_may_fail_and_not_too_many() {
        let context = context();
        let check = |failures: usize| {
            let statuses: Vec<&str> =
                (0..10).map(|n| if n < failures { "failed: timed out" } else { NOT_FOUND }).collect();
            check_failures(&context, "tracks", statuses.into_iter(), 0.1)
        };
        assert!(check(0).is_ok() && check(1).is_ok());
        let error = check(2).expect_err("too many");
        assert_eq!(error.to_string(), "2 of 10 tracks failed, most often: timed out");
    }
}
