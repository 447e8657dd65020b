//! The order in which things can be done that need one another, and the
//! cycles that leave no such order.

use std::collections::BTreeSet;

use super::report::{Place, Report};

/// One thing needs another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    /// What is needed.
    pub(super) from: usize,
    /// Where in the file that is said.
    pub(super) place: Place,
}

/// The names of a thing: that of its group, and its own.
pub(super) type Names = (String, String);

/// The order: each after all that it needs, else as numbered. `needs` has the
/// edges of each thing; cycles are reported once per set of groups.
pub(super) fn order(needs: &[Vec<Edge>], name: &dyn Fn(usize) -> Names, report: &mut Report) -> Vec<usize> {
    let mut waits: Vec<BTreeSet<usize>> =
        needs.iter().map(|edges| edges.iter().map(|edge| edge.from).collect()).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (reader, edges) in waits.iter().enumerate() {
        for from in edges {
            needed_by[*from].push(reader);
        }
    }
    let mut ready: BTreeSet<usize> = (0..needs.len()).filter(|index| waits[*index].is_empty()).collect();
    let mut left: BTreeSet<usize> = (0..needs.len()).collect();
    let mut sequence = Vec::with_capacity(needs.len());
    let mut reported = BTreeSet::new();
    loop {
        while let Some(next) = ready.pop_first() {
            sequence.push(next);
            left.remove(&next);
            for reader in &needed_by[next] {
                if waits[*reader].remove(&next) && waits[*reader].is_empty() && left.contains(reader) {
                    ready.insert(*reader);
                }
            }
        }
        let Some(first) = left.first().copied() else { return sequence };
        let cycle = cycle_at(first, &waits);
        let names: BTreeSet<String> = cycle.iter().map(|index| name(*index).0).collect();
        if reported.insert(names) {
            report_cycle(&cycle, needs, name, report);
        }
        // As if the cycle were done: what else is wrong shall be found too.
        ready.extend(cycle);
    }
}

/// A cycle found by going from need to need: each needs the one before it, and
/// the first needs the last. Every thing left waits for another that is left.
fn cycle_at(start: usize, waits: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut path = vec![start];
    loop {
        let Some(next) = path.last().and_then(|last| waits[*last].first().copied()) else { return path };
        if let Some(begin) = path.iter().position(|seen| *seen == next) {
            let mut cycle = path.split_off(begin);
            cycle.reverse();
            return cycle;
        }
        path.push(next);
    }
}

fn report_cycle(cycle: &[usize], needs: &[Vec<Edge>], name: &dyn Fn(usize) -> Names, report: &mut Report) {
    let before = |at: usize| cycle[(at + cycle.len() - 1) % cycle.len()];
    let edge = |at: usize| needs[cycle[at]].iter().find(|edge| edge.from == before(at)).map(|edge| edge.place);
    let Some((start, place)) = (0..cycle.len()).filter_map(|at| Some((at, edge(at)?))).min_by_key(|(_, place)| *place)
    else {
        return;
    };
    let groups: BTreeSet<String> = cycle.iter().map(|index| name(*index).0).collect();
    let shown = |index: usize| if groups.len() == cycle.len() { name(index).0 } else { name(index).1 };
    let names: Vec<String> = (0..=cycle.len()).map(|step| shown(cycle[(start + step) % cycle.len()])).collect();
    let what = if cycle.len() == 1 {
        format!("the stage `{}` reads its own output", names[0])
    } else {
        format!("the stages feed one another in a circle: {}", names.join(" -> "))
    };
    report.hinted(place, what, "break the circle: one of these inputs must come from elsewhere");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn edges(needs: &[&[usize]]) -> Vec<Vec<Edge>> {
        let edge =
            |(line, from): (usize, &usize)| Edge { from: *from, place: Place { line: line + 1, ..Place::START } };
        needs.iter().map(|list| list.iter().enumerate().map(edge).collect()).collect()
    }

    fn ordered(needs: &[Vec<Edge>]) -> (Vec<usize>, String) {
        let mut report = Report::new(Path::new("p.yaml"), "");
        let sequence = order(needs, &|index| (format!("s{index}"), String::new()), &mut report);
        (sequence, report.finish(Some(())).map_or_else(|problems| problems.to_string(), |()| String::new()))
    }

    #[test]
    fn each_comes_after_its_needs_and_else_as_numbered() {
        assert_eq!(ordered(&edges(&[&[2], &[], &[], &[0, 1]])).0, [1, 2, 0, 3]);
        assert_eq!(ordered(&edges(&[&[], &[], &[]])).0, [0, 1, 2]);
    }

    #[test]
    fn cycles_are_named_and_the_rest_is_still_ordered() {
        let (sequence, problems) = ordered(&edges(&[&[2], &[0], &[1], &[], &[4], &[2]]));
        assert_eq!(sequence.len(), 6);
        assert!(problems.contains("s1 -> s2 -> s0 -> s1"), "{problems}");
        assert!(problems.contains("`s4` reads its own output"), "{problems}");
    }

    proptest! {
        #[test]
        fn an_order_respects_every_need(needs in prop::collection::vec(prop::collection::vec(0usize..100, 0..4), 1..30)) {
            // A thing needs only those numbered below it, so there is an order.
            let needs: Vec<Vec<Edge>> = needs.iter().enumerate().map(|(index, list)| {
                list.iter().filter(|_| index > 0).map(|from| Edge { from: from % index.max(1), place: Place::default() }).collect()
            }).collect();
            let (sequence, problems) = ordered(&needs);
            prop_assert_eq!(problems, "");
            prop_assert_eq!(sequence.iter().copied().collect::<BTreeSet<_>>().len(), needs.len());
            for (at, index) in sequence.iter().enumerate() {
                for edge in &needs[*index] {
                    prop_assert!(sequence[..at].contains(&edge.from));
                }
            }
        }
    }
}
