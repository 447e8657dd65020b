//! `store:`: the store that a lab shares. It decides no key.

use std::time::Duration;

use super::node::Entry;
use super::report::Report;
use super::settings::decode;
use crate::ground::parse_duration;
use crate::remote::{Sharing, StoreSettings, check_address};

/// Reads the block; reports its mistakes.
pub(super) fn read(entry: &Entry, report: &mut Report) -> Option<Sharing> {
    let settings: StoreSettings = decode("the shared store", entry, report)?;
    if let Err((what, hint)) = check_address(&settings.remote) {
        let place = entry.node.entry("remote").map_or(entry.place, |remote| remote.node.place);
        report.hinted(place, format!("the shared store: {what}"), hint);
        return None;
    }
    let timeout = duration("timeout", settings.timeout.as_deref(), entry, report);
    let expiry = duration("claims_expire", settings.claims_expire.as_deref(), entry, report);
    Some(Sharing::of(&settings, timeout, expiry))
}

fn duration(name: &str, text: Option<&str>, entry: &Entry, report: &mut Report) -> Option<Duration> {
    let what = match parse_duration(text?) {
        Ok(duration) if !duration.is_zero() => return Some(duration),
        Ok(_) => format!("`{name}` must be more than 0"),
        Err(what) => format!("`{name}`: {what}"),
    };
    let place = entry.node.entry(name).map_or(entry.place, |setting| setting.node.place);
    report.hinted(place, format!("the shared store: {what}"), "write `10s`, `10m` or `1h`");
    None
}
