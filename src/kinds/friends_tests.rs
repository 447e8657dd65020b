//! The laws of the search over friends: whatever the graph, and in whatever
//! order the answers come, it keeps what a search one by one would keep, and
//! asks little in vain.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::friends::{Ask, Bounds, Friends, Profile, Search};
use super::rows;
use crate::stage::StageError;
use crate::web::lastfm::User;

/// Users by number: their friends, and whether they are worth keeping; none if
/// there is no such user.
type World = Vec<Option<(Vec<usize>, bool)>>;

fn name(user: usize) -> String {
    format!("u{user}")
}

fn number(name: &str) -> usize {
    name[1..].parse().expect("a number")
}

fn nobody(_: &str) -> bool {
    false
}

/// One by one, by the book: whom it keeps, and how many profiles and lists it needs.
fn by_the_book(world: &World, bounds: Bounds) -> (Vec<String>, usize, usize) {
    let (mut met, mut seen, mut kept) = (vec![(0, 0)], BTreeSet::from([0]), Vec::new());
    let (mut profiles, mut lists, mut next_list) = (0, 0, 0);
    while kept.len() < bounds.users {
        if profiles < met.len() {
            if world[met[profiles].0].as_ref().is_some_and(|(_, worth)| *worth) {
                kept.push(name(met[profiles].0));
            }
            profiles += 1;
            continue;
        }
        let Some(&(user, depth)) = met.get(next_list).filter(|_| met.len() < bounds.profiles) else { break };
        next_list += 1;
        let Some((friends, _)) = world[user].as_ref().filter(|_| depth < bounds.depth) else { continue };
        lists += 1;
        for friend in friends {
            if met.len() < bounds.profiles && seen.insert(*friend) {
                met.push((*friend, depth + 1));
            }
        }
    }
    (kept, profiles, lists)
}

/// The same with `width` requests under way, answered in the order that
/// `turns` says: whom it keeps, and how many profiles and lists it asked for.
fn at_once(world: &World, bounds: Bounds, width: usize, turns: &[usize]) -> (Vec<String>, usize, usize) {
    let mut search = Search::new("u0", bounds, &nobody);
    let (mut running, mut profiles, mut lists) = (Vec::new(), 0, 0);
    let mut turns = turns.iter().cycle();
    loop {
        while running.len() < width {
            let Some(ask) = search.next(width) else { break };
            match ask {
                Ask::Profile(_) => profiles += 1,
                Ask::Friends(_) => lists += 1,
            }
            running.push(ask);
        }
        if running.is_empty() {
            break;
        }
        let ask = running.swap_remove(turns.next().copied().unwrap_or_default() % running.len());
        let user = &world[number(search.name(ask))];
        match (ask, user) {
            (Ask::Profile(place), Some((_, is_complete))) => {
                let user = User { name: search.name(ask).to_owned(), ..User::default() };
                search.take_profile(place, Ok(Profile { user, is_complete: *is_complete }))
            }
            (Ask::Profile(place), None) => search.take_profile(place, Err(rows::NOT_FOUND.to_owned())),
            (Ask::Friends(place), Some((friends, _))) => {
                let names = friends.iter().map(|friend| name(*friend)).collect();
                search.take_friends(place, Ok(Friends { names, ..Friends::default() }))
            }
            (Ask::Friends(place), None) => search.take_friends(place, Err(StageError::failed("nobody"))),
        }
        .expect("no list of nobody is needed");
    }
    (search.kept().iter().map(|kept| kept.user.name.clone()).collect(), profiles, lists)
}

fn worlds() -> impl Strategy<Value = World> {
    (1..40_usize).prop_flat_map(|users| {
        let user = proptest::option::weighted(0.9, (proptest::collection::vec(0..users, 0..8), any::<bool>()));
        proptest::collection::vec(user, users)
    })
}

proptest! {
    #[test]
    fn the_order_of_answers_does_not_matter_and_little_is_asked_in_vain(
        world in worlds(),
        users in 1..30_usize,
        depth in 0..4_u32,
        profiles in 1..50_usize,
        width in 1..9_usize,
        turns in proptest::collection::vec(0..8_usize, 1..20),
    ) {
        let bounds = Bounds { users, depth, profiles };
        let (kept, looked_at, followed) = by_the_book(&world, bounds);
        let (found, asked, lists) = at_once(&world, bounds, width, &turns);
        prop_assert_eq!(found, kept);
        prop_assert_eq!(asked, looked_at, "every profile that is asked for is needed");
        prop_assert!(lists >= followed && lists < followed + width, "{} lists, {} needed", lists, followed);
    }
}

#[test]
fn a_list_that_fails_counts_only_when_it_is_needed() {
    let bounds = Bounds { users: 3, depth: 5, profiles: 100 };
    let fails = |kept_of: usize| -> Result<usize, StageError> {
        let mut search = Search::new("u0", bounds, &nobody);
        let profile =
            |n: usize| Ok(Profile { user: User { name: name(n), ..User::default() }, is_complete: n < kept_of });
        assert_eq!(search.next(2), Some(Ask::Profile(0)));
        search.take_profile(0, profile(0))?;
        assert_eq!(search.next(2), Some(Ask::Friends(0)));
        let names = vec![name(1)];
        search.take_friends(0, Ok(Friends { names, ..Friends::default() }))?;
        assert_eq!((search.next(2), search.next(2)), (Some(Ask::Profile(1)), None));
        search.take_profile(1, profile(1))?;
        assert_eq!(search.next(2), Some(Ask::Friends(1)));
        search.take_friends(1, Err(StageError::failed("down")))?;
        Ok(search.kept().len())
    };
    assert_eq!(fails(2).expect_err("the list is needed").to_string(), "down");
}
