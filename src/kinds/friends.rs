//! A breadth-first search over friends, without a network: it says what is to
//! be asked next and takes the answers in whatever order they come. For
//! `crawl_users`; no kind by itself.
//!
//! Whom it meets, whom it keeps and in which order depends on the answers
//! alone. A profile is asked for only when it is needed for certain: if all
//! users that are met and not yet looked at were kept, there would still be too
//! few before it. So is the next list of friends. Only lists are also asked for
//! ahead, when there is nothing else to do than to wait; those that turn out not
//! to be needed are fewer than are asked for at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::stage::StageError;
use crate::web::lastfm::User;

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Users to keep.
    pub(super) users: usize,
    /// Friendships from the first user.
    pub(super) depth: u32,
    /// Users to meet, and so to look at. Nobody more is remembered.
    pub(super) profiles: usize,
}

/// What is to be asked of a user: the place among those met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The profile.
    Profile(usize),
    /// The friends.
    Friends(usize),
}

/// A user that the search has met.
#[derive(Debug)]
struct Met {
    name: String,
    depth: u32,
    is_followed: bool,
}

/// A user that is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    /// The profile.
    pub(super) user: User,
    /// Friendships from the first user.
    pub(super) depth: u32,
}

/// A profile that exists.
#[derive(Debug)]
pub(super) struct Profile {
    /// What it says.
    pub(super) user: User,
    /// Whether it has what is required.
    pub(super) is_complete: bool,
}

/// The friends of a user.
#[derive(Debug, Default)]
pub(super) struct Friends {
    /// Their names, in the server's order.
    pub(super) names: Vec<String>,
    /// How asking for them ended.
    pub(super) status: String,
    /// Whether the list had no end, and was given up.
    pub(super) is_endless: bool,
}

/// A search under way.
pub(super) struct Search<'a> {
    bounds: Bounds,
    is_excluded: &'a (dyn Fn(&str) -> bool + Sync),
    /// Everyone met, in the order of the search.
    met: Vec<Met>,
    /// Their names in lower case: the server takes any case.
    names: BTreeSet<String>,
    /// Profiles that are answered before those in front of them.
    profiles: BTreeMap<usize, Result<Profile, String>>,
    /// The first of `met` whose profile has not been asked for.
    next_asked: usize,
    /// The first whose profile has not been looked at.
    next_profile: usize,
    /// The first whose friends have not been asked for.
    next_list: usize,
    /// Whose friends are asked for, in the order of the search.
    following: VecDeque<usize>,
    /// Those of them that are answered before those in front of them.
    lists: BTreeMap<usize, Result<Friends, StageError>>,
    /// How each list ended, with the number of users met before it.
    followed: Vec<(usize, String, bool)>,
    statuses: Vec<String>,
    kept: Vec<Kept>,
}

impl<'a> Search<'a> {
    /// A search that begins at a user.
    pub(super) fn new(first: &str, bounds: Bounds, is_excluded: &'a (dyn Fn(&str) -> bool + Sync)) -> Self {
        let mut search = Self {
            bounds,
            is_excluded,
            met: Vec::new(),
            names: BTreeSet::new(),
            profiles: BTreeMap::new(),
            next_asked: 0,
            next_profile: 0,
            next_list: 0,
            following: VecDeque::new(),
            lists: BTreeMap::new(),
            followed: Vec::new(),
            statuses: Vec::new(),
            kept: Vec::new(),
        };
        search.meet(first, 0);
        search
    }

    /// The next thing to ask, if there is one. `ahead` is how many lists may be
    /// asked for at once where not all of them may be needed.
    pub(super) fn next(&mut self, ahead: usize) -> Option<Ask> {
        let needed = self.bounds.users - self.kept.len();
        let waiting = self.met.len() - self.next_profile;
        let wants_more = needed > 0 && waiting < needed;
        if wants_more
            && self.following.is_empty()
            && let Some(place) = self.follow()
        {
            return Some(Ask::Friends(place));
        }
        if self.next_asked < self.met.len().min(self.next_profile + needed) {
            self.next_asked += 1;
            return Some(Ask::Profile(self.next_asked - 1));
        }
        // Each list may bring one user at least: more lists than that are worth nothing.
        let ahead = ahead.min(needed.saturating_sub(waiting));
        if wants_more && self.following.len() < ahead { self.follow().map(Ask::Friends) } else { None }
    }

    /// The next user whose friends are worth asking for.
    fn follow(&mut self) -> Option<usize> {
        let open = self.met.len() < self.bounds.profiles;
        while open && self.next_list < self.next_profile {
            let met = &self.met[self.next_list];
            self.next_list += 1;
            if met.is_followed && met.depth < self.bounds.depth {
                self.following.push_back(self.next_list - 1);
                return self.following.back().copied();
            }
        }
        None
    }

    /// The name of a user that was met.
    pub(super) fn name(&self, ask: Ask) -> &str {
        let (Ask::Profile(place) | Ask::Friends(place)) = ask;
        &self.met[place].name
    }

    /// Takes a profile, or why there is none.
    ///
    /// # Errors
    /// The failure of a list whose turn has come.
    pub(super) fn take_profile(&mut self, place: usize, profile: Result<Profile, String>) -> Result<(), StageError> {
        self.profiles.insert(place, profile);
        self.settle()
    }

    /// Takes a user's friends. A failure counts only when their turn comes.
    ///
    /// # Errors
    /// The failure of a list whose turn has come.
    pub(super) fn take_friends(
        &mut self,
        place: usize,
        friends: Result<Friends, StageError>,
    ) -> Result<(), StageError> {
        self.lists.insert(place, friends);
        self.settle()
    }

    /// Looks at all whose turn has come.
    fn settle(&mut self) -> Result<(), StageError> {
        loop {
            if let Some(profile) = self.profiles.remove(&self.next_profile) {
                self.look_at(profile);
                continue;
            }
            let Some(place) = self.following.front().copied() else { return Ok(()) };
            let is_its_turn = self.next_profile == self.met.len() && self.kept.len() < self.bounds.users;
            match self.lists.remove(&place) {
                Some(Ok(friends)) => self.meet_all(friends, self.met[place].depth + 1),
                Some(Err(error)) if is_its_turn => return Err(error),
                Some(Err(error)) => {
                    self.lists.insert(place, Err(error));
                    return Ok(());
                }
                None => return Ok(()),
            }
            self.following.pop_front();
        }
    }

    fn look_at(&mut self, profile: Result<Profile, String>) {
        let met = &mut self.met[self.next_profile];
        self.next_profile += 1;
        let Profile { user, is_complete } = match profile {
            Ok(profile) => profile,
            Err(status) => return self.statuses.push(status),
        };
        self.statuses.push(super::rows::OK.to_owned());
        // Whoever has another name by now may have been met under that as well.
        let name = user.name.to_lowercase();
        let is_met = name != met.name.to_lowercase() && (!self.names.insert(name) || (self.is_excluded)(&user.name));
        met.is_followed = !is_met;
        if is_complete && !is_met && self.kept.len() < self.bounds.users {
            self.kept.push(Kept { user, depth: met.depth });
        }
    }

    fn meet_all(&mut self, friends: Friends, depth: u32) {
        self.followed.push((self.met.len(), friends.status, friends.is_endless));
        for friend in friends.names {
            self.meet(&friend, depth);
        }
    }

    fn meet(&mut self, name: &str, depth: u32) {
        let lower = name.to_lowercase();
        if self.met.len() >= self.bounds.profiles || self.names.contains(&lower) || (self.is_excluded)(name) {
            return;
        }
        self.names.insert(lower);
        self.met.push(Met { name: name.to_owned(), depth, is_followed: false });
    }

    /// The users that are kept so far.
    pub(super) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// How many profiles were looked at.
    pub(super) fn profiles(&self) -> usize {
        self.next_profile
    }

    /// Whether too few were kept because there was no place to meet more.
    pub(super) fn is_cut_off(&self) -> bool {
        self.kept.len() < self.bounds.users && self.met.len() >= self.bounds.profiles
    }

    /// The lists that were needed: of those asked for ahead some may not have been.
    fn needed_lists(&self) -> impl Iterator<Item = &(usize, String, bool)> {
        let is_exhausted = self.kept.len() < self.bounds.users;
        let end = if is_exhausted { self.bounds.profiles } else { self.next_profile };
        self.followed.iter().filter(move |(met_before, ..)| *met_before < end)
    }

    /// How all that was needed ended.
    pub(super) fn statuses(&self) -> impl Iterator<Item = &str> {
        self.statuses.iter().map(String::as_str).chain(self.needed_lists().map(|(_, status, _)| &**status))
    }

    /// How many lists had no end.
    pub(super) fn endless(&self) -> usize {
        self.needed_lists().filter(|(_, _, is_endless)| *is_endless).count()
    }
}
