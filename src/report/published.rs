//! The numbers that the paper prints, to stand beside a run's own: Tables 1 to 3
//! of "Music Recommendation through LLM Song Summary".

use serde::Serialize;

use super::PublishedData;
use crate::pipeline::Catalog;

/// What the paper prints of one variant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// The table of the paper, 2 or 3; a variant that is in both counts to the first.
    pub table: u8,
    /// HR@10.
    pub hr: f64,
    /// NDCG@10.
    pub ndcg: f64,
}

/// Variant, table, HR@10, NDCG@10. V2 of Table 2 is V2.1 of Table 3.
const APPLE: [(&str, u8, f64, f64); 7] = [
    ("CF", 2, 0.030_333, 0.014_603),
    ("V1", 2, 0.031_706, 0.014_655),
    ("V2.1", 2, 0.062_215, 0.029_037),
    ("V4", 2, 0.176_677, 0.085_487),
    ("V2.2", 3, 0.064_616, 0.031_359),
    ("V3.1", 3, 0.136_15, 0.062_605),
    ("V3.2", 3, 0.137_559, 0.063_157),
];

const SPOTIFY: [(&str, u8, f64, f64); 4] = [
    ("CF", 2, 0.075_819, 0.029_261),
    ("V1", 2, 0.088_115, 0.035_020),
    ("V2.1", 2, 0.121_396, 0.060_251),
    ("V4", 2, 0.156_297, 0.069_138),
];

/// The paper's numbers for a variant, if it has any.
#[must_use]
pub(super) fn of_variant(catalog: Catalog, variant: &str) -> Option<Published> {
    let rows: &[(&str, u8, f64, f64)] = match catalog {
        Catalog::Apple => &APPLE,
        Catalog::Spotify => &SPOTIFY,
    };
    let name = if variant == "V2" { "V2.1" } else { variant };
    let (_, table, hr, ndcg) = *rows.iter().find(|(known, ..)| *known == name)?;
    Some(Published { table, hr, ndcg })
}

/// The counts of Table 1. The sparsity is computed: those that the paper prints for its two catalogs are swapped.
#[must_use]
pub(super) fn of_data(catalog: Catalog) -> PublishedData {
    let (users, items, feedback) = match catalog {
        Catalog::Apple => (8_000, 6_800, 114_000),
        Catalog::Spotify => (8_000, 3_630, 71_690),
    };
    PublishedData { users, items, feedback, sparsity: super::data::sparsity(users, items, feedback) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_counts_give_the_sparsities_that_it_prints_for_the_other_catalog() {
        assert_eq!(format!("{:.3}", 100.0 * of_data(Catalog::Apple).sparsity), "99.790");
        assert_eq!(format!("{:.3}", 100.0 * of_data(Catalog::Spotify).sparsity), "99.753");
    }

    #[test]
    fn variants_of_the_paper_have_numbers_and_others_none() {
        assert_eq!(of_variant(Catalog::Apple, "V2"), of_variant(Catalog::Apple, "V2.1"));
        assert_eq!(of_variant(Catalog::Apple, "V3.2").map(|row| (row.table, row.ndcg)), Some((3, 0.063_157)));
        assert_eq!(of_variant(Catalog::Spotify, "V3.2"), None);
        assert_eq!(of_variant(Catalog::Apple, "V1-tag"), None);
    }
}
