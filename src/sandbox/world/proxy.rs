//! A test of the world by a simple recommender: how well do the words of the
//! songs that a listener loves rank the song that the listener loved last?

use std::collections::{BTreeMap, BTreeSet};

use super::super::SandboxSettings;
use super::vocabulary::{idle_lines, telling_patterns, themes, words};
use super::{LovedTrack, World};

/// For each word of the themes' lists, titles and summaries included, the themes that use it, if they are few.
fn meanings() -> BTreeMap<String, BTreeSet<usize>> {
    let mut meanings: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (place, theme) in themes().iter().enumerate() {
        let sung = [&theme.titles, &theme.nouns, &theme.adjectives, &theme.actions, &theme.places, &theme.lines];
        let told = [&theme.subjects, &theme.images, &theme.moods];
        for phrase in sung.into_iter().chain(told).flatten() {
            for word in words(&phrase.to_lowercase()).filter(|word| word.len() > 3) {
                meanings.entry(word.to_owned()).or_default().insert(place);
            }
        }
    }
    let scaffold = "about before between find have here leave made mind open song sound their these words";
    for word in telling_patterns().iter().chain(idle_lines()).chain(&[scaffold]).flat_map(|line| words(line)) {
        meanings.remove(word);
    }
    meanings.retain(|_, themes| themes.len() <= 2);
    meanings
}

/// What each text is about, as a unit vector over themes: what a language
/// model's embedding would see of it, coarsely.
fn vectors(texts: &[String]) -> Vec<Vec<f64>> {
    let meanings = meanings();
    let vector = |text: &String| {
        let mut vector = vec![0.0; themes().len()];
        for theme in words(&text.to_lowercase()).filter_map(|word| meanings.get(word)).flatten() {
            vector[*theme] += 1.0;
        }
        let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-9);
        vector.into_iter().map(|value| value / norm).collect()
    };
    texts.iter().map(vector).collect()
}

/// Each listener's songs by time.
fn histories(world: &World) -> Vec<Vec<usize>> {
    let song = |track| match track {
        LovedTrack::Song(place) => Some(place),
        LovedTrack::Outside(_) => None,
    };
    let each = world.listeners().iter();
    each.map(|listener| listener.loved.iter().filter_map(|loved| song(loved.track)).collect()).collect()
}

/// How well scores rank the songs that listeners loved last.
struct Ranking {
    /// Share of listeners whose last song is among the 10 that score highest.
    hit_rate: f64,
    /// Share of the other songs that score lower, ties counted half.
    above: f64,
}

fn rank(histories: &[Vec<usize>], songs: usize, scores: impl Fn(&[usize]) -> Vec<f64>) -> Ranking {
    let (mut hits, mut above, mut users) = (0.0, 0.0, 0.0);
    for history in histories.iter().filter(|history| history.len() >= 5) {
        let (last, train) = (history[history.len() - 1], &history[..history.len() - 1]);
        let scores = scores(train);
        let seen: BTreeSet<usize> = train.iter().copied().collect();
        let others: Vec<usize> = (0..songs).filter(|song| !seen.contains(song) && *song != last).collect();
        let better = others.iter().filter(|song| scores[**song] > scores[last]).count() as f64;
        let ties = others.iter().filter(|song| scores[**song].total_cmp(&scores[last]).is_eq()).count() as f64;
        hits += f64::from(u8::from(better + ties / 2.0 < 10.0));
        above += 1.0 - (better + ties / 2.0) / others.len() as f64;
        users += 1.0;
    }
    Ranking { hit_rate: hits / users, above: above / users }
}

fn by_text(histories: &[Vec<usize>], texts: &[String]) -> Ranking {
    let vectors = vectors(texts);
    rank(histories, texts.len(), |train| {
        let mut profile = vec![0.0; themes().len()];
        for vector in train.iter().map(|song| &vectors[*song]) {
            profile.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        }
        vectors.iter().map(|vector| vector.iter().zip(&profile).map(|(one, other)| one * other).sum()).collect()
    })
}

#[test]
fn lyrics_rank_a_listeners_last_song_better_than_summaries_and_these_better_than_titles() {
    let world = World::generate(&SandboxSettings::default()).unwrap();
    let histories = histories(&world);
    let songs = world.songs();
    let text = |make: &dyn Fn(&super::Song) -> String| by_text(&histories, &songs.iter().map(make).collect::<Vec<_>>());
    let opening = text(&|song| song.lyrics.split_whitespace().take(25).collect::<Vec<_>>().join(" "));
    let of_lyrics = |limit: &str| text(&|song| world.chat(&format!("Summarise the lyrics{limit}: {}", song.lyrics)));
    let of_names =
        |limit: &str| text(&|song| world.chat(&format!("What is {} by {}{limit}?", song.title, song.artist)));
    let (short, long) = (of_lyrics(" in 25 words"), of_lyrics(""));
    let (name_short, name_long) = (of_names(" in 25 words"), of_names(""));
    let titles = text(&|song| song.title.clone());
    let mut loved = vec![0.0; songs.len()];
    histories.iter().flat_map(|history| &history[..history.len().saturating_sub(1)]).for_each(|s| loved[*s] += 1.0);
    let popularity = rank(&histories, songs.len(), |_| loved.clone());
    let all = [&opening, &short, &long, &name_short, &name_long, &titles, &popularity];
    let show = |of: fn(&Ranking) -> f64| all.map(|ranking| format!("{:.3}", of(ranking))).join(" ");
    let found = format!(
        "lyrics, their summaries (25 words, free), summaries of names (25 words, free), titles, popularity\n\
         HR@10 {}, above {}",
        show(|ranking| ranking.hit_rate),
        show(|ranking| ranking.above)
    );
    println!("{found}");
    let (summaries, names) = ([&short, &long], [&name_short, &name_long]);
    assert!(summaries.iter().all(|ranking| ranking.hit_rate * 1.1 < opening.hit_rate), "{found}");
    assert!(names.iter().all(|ranking| ranking.hit_rate * 1.3 < short.hit_rate.min(long.hit_rate)), "{found}");
    assert!(names.iter().all(|ranking| ranking.above > titles.above), "{found}");
    assert!(titles.above > 0.52, "{found}");
}
