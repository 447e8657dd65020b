//! A small table to start from: who listened to which song, and when. It is made
//! up, and the same each time.

use std::fmt::Write as _;

/// Its file's name.
pub(super) const FILE: &str = "listens.csv";

const USERS: u64 = 60;
const SONGS_OF_A_STYLE: u64 = 15;
const LISTENS: u64 = 12;
const STYLES: [&str; 3] = ["calm", "loud", "swing"];

/// The table as CSV: user, song, and seconds since 1970-01-01 UTC. Most of what
/// somebody hears is of one style, so that there is something to find.
pub(super) fn csv() -> String {
    let mut random = 0_u64;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    let mut text = "user,song,listened_at\n".to_owned();
    for listen in 0..LISTENS {
        for user in 0..USERS {
            let style = if below(5) == 0 { below(3) } else { user % 3 };
            let song = below(SONGS_OF_A_STYLE).min(below(SONGS_OF_A_STYLE));
            let at = 1_750_000_000 + listen * 86_400 + user * 60 + below(60);
            writeln!(text, "user-{user:02},{}-{song:02},{at}", STYLES[style as usize]).ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small_and_the_same_each_time() {
        let text = csv();
        assert_eq!(text, csv());
        assert_eq!(text.lines().count() as u64, 1 + USERS * LISTENS);
        assert!(text.len() < 30_000);
    }
}
