//! Listeners: who they are, whom they know and what they love.

use std::collections::BTreeSet;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::draw::{Wheel, happens, normal, pick, shuffle};
use super::songs::Song;
use super::vocabulary::{genres, names, themes};
use crate::ground::Seed;

/// The listener whom a crawl starts from; every other can be reached from there.
const FIRST: &str = "RJ";
/// 2016-01-01 00:00 UTC: nobody loved anything before.
const BEGINNING: i64 = 1_451_606_400;
/// 2025-01-01 00:00 UTC: nor after.
const END: i64 = 1_735_689_600;
/// Share of loved tracks that are not in the catalog.
const OUTSIDE: f64 = 0.15;
/// Share of loved tracks that have nothing to do with the listener's taste.
const NOISE: f64 = 0.06;

/// A listener of the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The user name, unique whatever the case.
    pub name: String,
    /// The real name; may be empty.
    pub real_name: String,
    /// The country's name, at times behind a town and a comma; some have none.
    pub country: Option<String>,
    /// Places of friends in the list of listeners, ascending; friendship is mutual.
    pub friends: Vec<usize>,
    /// Seconds UTC.
    pub registered: i64,
    /// How many tracks were played.
    pub plays: u32,
    /// Whether loved tracks are only shown after a login.
    pub private: bool,
    /// Themes with weights, the favourite first.
    pub themes: Vec<(usize, f64)>,
    /// Genres that the listener likes.
    pub genres: Vec<usize>,
    /// Loved tracks, the oldest first.
    pub loved: Vec<Loved>,
}

/// A track that a listener loves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loved {
    /// Which track.
    pub track: LovedTrack,
    /// Since when, in seconds UTC; different for each track of a listener.
    pub at: i64,
    /// Whether Last.fm has lost the time.
    pub undated: bool,
}

/// A track: a song of the world, or one that the world has only heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LovedTrack {
    /// Place in the world's songs.
    Song(usize),
    /// Place in the world's names of tracks outside the catalog.
    Outside(usize),
}

/// Wheels that are the same for all listeners.
struct Wheels {
    /// For each theme: songs by how much they are about it and how popular they are.
    popular: Vec<Wheel>,
    /// For each theme: songs by how much they are about it.
    any: Vec<Wheel>,
    outside: Wheel,
    outside_count: usize,
}

/// Makes `count` listeners who love about `loved_per_user` tracks each.
pub(super) fn make(seed: &Seed, count: usize, loved_per_user: usize, songs: &[Song], outside: usize) -> Vec<Listener> {
    let names = handles(&seed.purpose("handles"), count);
    let friends = friendships(&mut seed.purpose("friends").rng(), count);
    let weigh = |theme: usize, popular: bool| {
        Wheel::new(songs.iter().map(|song| {
            let weight = song.themes.iter().find(|(other, _)| *other == theme).map_or(0.0, |(_, weight)| *weight);
            f64::from(weight).powf(1.5) * if popular { song.popularity } else { 1.0 }
        }))
    };
    let wheels = Wheels {
        popular: (0..themes().len()).into_par_iter().map(|theme| weigh(theme, true)).collect(),
        any: (0..themes().len()).into_par_iter().map(|theme| weigh(theme, false)).collect(),
        outside: Wheel::new((0..outside).map(|place| 1.0 / (place as f64 + 5.0))),
        outside_count: outside,
    };
    let people = names.into_par_iter().zip(friends).enumerate();
    people
        .map(|(place, (name, friends))| {
            let mut rng = seed.purpose("listener").purpose(&place.to_string()).rng();
            let mut listener = person(&mut rng, name, friends);
            let wanted = how_many(&mut rng, place, loved_per_user);
            listener.loved = love(&mut rng, &listener, wanted, songs, &wheels);
            listener
        })
        .collect()
}

fn person(rng: &mut ChaCha8Rng, name: String, friends: Vec<usize>) -> Listener {
    let first = name == FIRST;
    let real_name = format!("{} {}", pick(rng, names("first names")), pick(rng, names("last names")));
    let real_name = if happens(rng, 0.1) && !first { String::new() } else { real_name };
    // Countries differ in size: the first of the list has the most listeners.
    let countries = names("countries");
    let place = Wheel::new((0..countries.len()).map(|place| 1.0 / (place as f64 + 2.0))).draw(rng).unwrap_or_default();
    let country = countries.get(place).copied().unwrap_or_default().to_owned();
    let country = if happens(rng, 0.04) { format!("{}, {country}", pick(rng, names("towns"))) } else { country };
    let liked = if happens(rng, 0.5) { 1 } else { 2 };
    let mut favourites = BTreeSet::new();
    while favourites.len() < 3 {
        favourites.insert(rng.random_range(0..themes().len()));
    }
    let mut favourites: Vec<usize> = favourites.into_iter().collect();
    let start = rng.random_range(0..3);
    favourites.rotate_left(start);
    Listener {
        name,
        real_name,
        country: (first || !happens(rng, 0.1)).then_some(country),
        friends,
        registered: rng.random_range(BEGINNING - 200_000_000..BEGINNING),
        plays: rng.random_range(500..90_000),
        private: !first && happens(rng, 0.005),
        themes: favourites.into_iter().zip([0.62, 0.32, 0.06]).collect(),
        genres: (0..liked).map(|_| rng.random_range(0..genres().len())).collect(),
        loved: Vec::new(),
    }
}

/// A log-normal count around the mean; one listener in 30 has fewer than 5.
fn how_many(rng: &mut ChaCha8Rng, place: usize, mean: usize) -> usize {
    let many = (mean as f64 * (0.55 * normal(rng) - 0.15).exp()).round() as usize;
    let few = rng.random_range(0..5);
    match place {
        0 => many.max(mean),
        _ if happens(rng, 1.0 / 30.0) => few.min(mean),
        _ => many,
    }
}

/// Draws what a listener loves, and when.
fn love(rng: &mut ChaCha8Rng, listener: &Listener, wanted: usize, songs: &[Song], wheels: &Wheels) -> Vec<Loved> {
    let favourite = Wheel::new(listener.themes.iter().map(|(_, weight)| *weight));
    let mainstream = 0.4 + 0.6 * rng.random::<f64>();
    let mut tracks = Vec::new();
    let mut taken = BTreeSet::new();
    for _ in 0..wanted.saturating_mul(15) {
        if tracks.len() == wanted {
            break;
        }
        let drawn = if wheels.outside_count > 0 && happens(rng, OUTSIDE) {
            wheels.outside.draw(rng).map(LovedTrack::Outside)
        } else if happens(rng, NOISE) {
            (!songs.is_empty()).then(|| LovedTrack::Song(rng.random_range(0..songs.len())))
        } else {
            let theme = favourite.draw(rng).map_or(0, |place| listener.themes[place].0);
            let wheel = if happens(rng, mainstream) { &wheels.popular[theme] } else { &wheels.any[theme] };
            wheel.draw(rng).filter(|place| likes(rng, listener, &songs[*place], theme)).map(LovedTrack::Song)
        };
        tracks.extend(drawn.filter(|track| taken.insert(*track)));
    }
    // The order of the draws is none: the last to be drawn fit the taste least.
    shuffle(rng, &mut tracks);
    let start = rng.random_range(BEGINNING..END - 100_000_000);
    let length = rng.random_range(50_000_000..END - start);
    let mut times = BTreeSet::new();
    while times.len() < tracks.len() {
        times.insert(start + rng.random_range(0..length));
    }
    let dated = tracks.into_iter().zip(times);
    dated.map(|(track, at)| Loved { track, at, undated: happens(rng, 0.01) }).collect()
}

/// Whether a song met through one theme is loved: its other theme and its genre decide.
fn likes(rng: &mut ChaCha8Rng, listener: &Listener, song: &Song, theme: usize) -> bool {
    let other = song.themes.iter().find(|(other, _)| *other != theme);
    let known = other.is_none_or(|(other, _)| listener.themes.iter().any(|(mine, _)| mine == other));
    let chance = if known { 1.0 } else { 0.45 } * if listener.genres.contains(&song.genre) { 1.0 } else { 0.5 };
    happens(rng, chance)
}

/// Different user names, whatever the case; the first is `RJ`.
fn handles(seed: &Seed, count: usize) -> Vec<String> {
    let mut rng = seed.rng();
    let mut taken = BTreeSet::from([FIRST.to_lowercase()]);
    let mut handles = vec![FIRST.to_owned()];
    while handles.len() < count {
        let (one, two) = (pick(&mut rng, names("handles")), pick(&mut rng, names("handles")));
        let number = rng.random_range(0..count.max(100));
        let name = match rng.random_range(0..4) {
            0 => format!("{one}_{two}"),
            1 => format!("{one}{number}"),
            2 => format!("{one}-{two}{number}"),
            _ => format!("{}{number}", super::lyrics::capitalised(one)),
        };
        if taken.insert(name.to_lowercase()) {
            handles.push(name);
        }
    }
    handles.truncate(count);
    handles
}

/// A connected graph: everybody came through somebody who was there before,
/// about 60 through the first, and knows a few others.
fn friendships(rng: &mut ChaCha8Rng, count: usize) -> Vec<Vec<usize>> {
    let mut friends = vec![BTreeSet::new(); count];
    let mut join = |one: usize, other: usize| {
        if one != other {
            friends[one].insert(other);
            friends[other].insert(one);
        }
    };
    for place in 1..count {
        let through = if happens(rng, 60.0 / count as f64) { 0 } else { rng.random_range(0..place) };
        join(place, through);
        while happens(rng, 0.65) {
            join(place, rng.random_range(0..count));
        }
    }
    friends.into_iter().map(|set| set.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::songs::invented;
    use super::*;

    fn people(count: usize) -> Vec<Listener> {
        let seed = Seed::of_stage(0, "test");
        make(&seed, count, 30, &invented(&seed, 400), 130)
    }

    #[test]
    fn everybody_is_reached_from_the_first_listener() {
        let listeners = people(600);
        assert_eq!(listeners[0].name, "RJ");
        assert!(listeners[0].friends.len() > 50);
        let mut reached = BTreeSet::from([0]);
        let mut queue = vec![0];
        while let Some(place) = queue.pop() {
            for friend in &listeners[place].friends {
                assert!(listeners[*friend].friends.contains(&place));
                queue.extend(reached.insert(*friend).then_some(*friend));
            }
        }
        assert_eq!(reached.len(), listeners.len());
        let names: BTreeSet<_> = listeners.iter().map(|listener| listener.name.to_lowercase()).collect();
        assert_eq!(names.len(), listeners.len());
    }

    #[test]
    fn counts_have_a_long_tail_and_times_are_all_different() {
        let listeners = people(600);
        let counts: Vec<usize> = listeners.iter().map(|listener| listener.loved.len()).collect();
        let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        assert!((25.0..35.0).contains(&mean), "{mean}");
        assert!(counts.iter().any(|count| *count < 5) && counts.iter().any(|count| *count > 75));
        for listener in &listeners {
            assert!(listener.loved.windows(2).all(|pair| pair[0].at < pair[1].at));
        }
        let outside = listeners.iter().flat_map(|l| &l.loved).filter(|l| matches!(l.track, LovedTrack::Outside(_)));
        assert!(outside.count() > 600);
        assert!(listeners.iter().any(|l| l.country.is_none()) && listeners.iter().any(|l| l.real_name.is_empty()));
    }

    #[test]
    fn worlds_of_nobody_and_of_no_songs_can_be_made() {
        assert!(make(&Seed::of_stage(0, "test"), 0, 30, &[], 0).is_empty());
        assert!(make(&Seed::of_stage(0, "test"), 2, 30, &[], 0)[1].loved.is_empty());
    }
}
