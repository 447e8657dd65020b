//! A test of the world by a simple recommender: how well do the words of the
//! songs that a listener loves rank the song that the listener loved last?

use std::collections::{BTreeMap, BTreeSet};

use super::super::SandboxSettings;
use super::{LovedTrack, World};

/// Unit vectors of words weighted by how rare they are.
fn vectors(texts: &[String]) -> Vec<BTreeMap<usize, f64>> {
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    let mut counts: Vec<BTreeMap<usize, f64>> = Vec::new();
    let mut documents: BTreeMap<usize, f64> = BTreeMap::new();
    for text in texts {
        let lower = text.to_lowercase();
        let mut count = BTreeMap::new();
        for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2) {
            let next = ids.len();
            *count.entry(*ids.entry(word.to_owned()).or_insert(next)).or_insert(0.0) += 1.0;
        }
        for word in count.keys() {
            *documents.entry(*word).or_insert(0.0) += 1.0;
        }
        counts.push(count);
    }
    for count in &mut counts {
        for (word, value) in count.iter_mut() {
            *value *= (texts.len() as f64 / documents[word]).ln();
        }
        let norm = count.values().map(|value| value * value).sum::<f64>().sqrt().max(1e-9);
        for value in count.values_mut() {
            *value /= norm;
        }
    }
    counts
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

/// Share of listeners whose last song is among the 10 that score highest.
fn hit_rate(histories: &[Vec<usize>], songs: usize, scores: impl Fn(&[usize]) -> Vec<f64>) -> f64 {
    let (mut hits, mut users) = (0.0, 0.0);
    for history in histories.iter().filter(|history| history.len() >= 5) {
        let (last, train) = (history[history.len() - 1], &history[..history.len() - 1]);
        let scores = scores(train);
        let seen: BTreeSet<usize> = train.iter().copied().collect();
        let better = (0..songs).filter(|song| !seen.contains(song) && *song != last && scores[*song] >= scores[last]);
        hits += f64::from(u8::from(better.count() < 10));
        users += 1.0;
    }
    hits / users
}

fn by_text(histories: &[Vec<usize>], texts: &[String]) -> f64 {
    let vectors = vectors(texts);
    hit_rate(histories, texts.len(), |train| {
        let mut profile: BTreeMap<usize, f64> = BTreeMap::new();
        for (word, value) in train.iter().flat_map(|song| &vectors[*song]) {
            *profile.entry(*word).or_insert(0.0) += value;
        }
        let score = |vector: &BTreeMap<usize, f64>| vector.iter().filter_map(|(w, v)| Some(v * profile.get(w)?)).sum();
        vectors.iter().map(score).collect()
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
    let popularity = hit_rate(&histories, songs.len(), |_| loved.clone());
    let random = 10.0 / songs.len() as f64;
    let found = format!(
        "HR@10: lyrics {opening:.3}, their summaries {short:.3} {long:.3}, summaries of names {name_short:.3} \
         {name_long:.3}, titles {titles:.3}, popularity {popularity:.3}, random {random:.3}"
    );
    println!("{found}");
    assert!(opening > short.max(long) * 1.05, "{found}");
    assert!(short.min(long) > name_short.max(name_long) * 1.15, "{found}");
    assert!(name_short.min(name_long) > titles * 1.1, "{found}");
    assert!(titles > random * 1.2, "{found}");
}
