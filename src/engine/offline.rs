//! What a run does without the network: it goes through all rows of a stage and
//! refuses what was made of half of them.

use super::error::EngineError;
use super::options::{Failure, RunOptions, SandboxChoice};
use crate::ground::thousands;
use crate::stage::Known;
use crate::web::Lacking;

/// Refuses an offline run whose sandbox only the network knows.
///
/// # Errors
/// [`EngineError::Sandbox`].
pub(super) fn check(options: &RunOptions) -> Result<(), EngineError> {
    if !options.offline || !matches!(options.plan.sandbox, Some(SandboxChoice::At(_))) {
        return Ok(());
    }
    Err(EngineError::Sandbox {
        action: "reach",
        hint: Some("`--sandbox` without an address means the pipeline's own world, which needs no server".to_owned()),
        source: "this run is offline".into(),
    })
}

/// Why a stage fails that lacks answers; nothing if it lacks none.
pub(super) fn refusal(stage: &str, lacking: &Lacking, known: Option<Known>) -> Option<Failure> {
    if lacking.count == 0 {
        return None;
    }
    let rows = known.map(|known| (known.rows - known.known, known.rows)).filter(|(without, _)| *without > 0);
    let what = match (rows, lacking.count) {
        (Some((1, rows)), _) => format!("1 of {} rows has", thousands(rows)),
        (Some((without, rows)), _) => format!("{} of {} rows have", thousands(without), thousands(rows)),
        (None, 1) => "1 request has".to_owned(),
        (None, count) => format!("{} requests have", thousands(count)),
    };
    let more = lacking.count - lacking.first.len() as u64;
    let more = (more > 0).then(|| format!("and {} more", thousands(more)));
    let told = [format!("{what} no answer in the memo, and this run is offline:")];
    let error = told.iter().chain(&lacking.first).chain(&more).cloned().collect::<Vec<_>>().join("\n  ");
    let hint = format!(
        "`refrain memo lacks {stage}` lists them all; run once without --offline, or bring the answers with \
         `refrain memo import`"
    );
    Some(Failure { error, causes: Vec::new(), hint: Some(hint) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memo::Tally;
    use crate::web::Forecast;

    fn lacking(count: u64) -> Lacking {
        Lacking { count, first: (0..count.min(2)).map(|n| format!("lastfm GET ?user={n}")).collect() }
    }

    #[test]
    fn what_is_lacking_is_told_in_rows_where_they_can_be_counted() {
        assert_eq!(refusal("tags", &lacking(0), None), None);
        let known = Known::to_ask(Tally { rows: 1200, known: 1190, left: 7 }, Forecast::default());
        let failure = refusal("tags@V1", &lacking(7), Some(known)).expect("a failure");
        assert_eq!(
            failure.error,
            "10 of 1,200 rows have no answer in the memo, and this run is offline:\n  lastfm GET ?user=0\n  \
             lastfm GET ?user=1\n  and 5 more"
        );
        assert!(failure.hint.is_some_and(|hint| hint.starts_with("`refrain memo lacks tags@V1` lists them all")));
        let failure = refusal("users", &lacking(1), None).expect("a failure");
        assert!(failure.error.starts_with("1 request has no answer in the memo"), "{}", failure.error);
    }
}
