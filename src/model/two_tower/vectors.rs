//! Scoring with finished vectors: what is left of a two-tower model when the
//! towers have done their work.

use super::loss::Scorer;
use super::parameters::Tensor;
use super::scorer::{Compress, squares_and_sums};
use refrain_kernels::{Left, Mode, Packed, PairNet, PairScratch, dot, gelu_in_place, sum};

/// The vectors of all users and items, and how two of them become a score.
#[derive(Debug, Clone)]
pub struct VectorScorer {
    users: Vec<f32>,
    items: Vec<f32>,
    width: usize,
    scorer: Scorer,
}

/// A [`VectorScorer`] laid out for many scores.
pub(crate) struct PreparedScorer<'a> {
    source: &'a VectorScorer,
    items: Packed,
    /// Squares and sums of the items' vectors, where there is a network.
    numbers: [Vec<f32>; 2],
    net: Option<PairNet>,
}

impl VectorScorer {
    /// Vectors `[users, width]` and `[items, width]` and a scorer.
    pub(super) fn new(users: Vec<f32>, items: Vec<f32>, width: usize, scorer: Scorer) -> Self {
        Self { users, items, width, scorer }
    }

    /// The scorer of a model's tensors: `user_vectors`, `item_vectors`, and
    /// `scorer.*` where the scores are not inner products.
    ///
    /// # Errors
    /// The name of a tensor that is missing or does not fit.
    pub fn of_tensors<'a>(find: impl Fn(&str) -> Option<&'a Tensor>) -> Result<Self, String> {
        let matrix = |name: &str| match find(name) {
            Some(tensor) => match tensor.shape.as_slice() {
                [rows, width] if rows * width == tensor.values.len() => Ok((tensor.values.clone(), *width)),
                _ => Err(name.to_owned()),
            },
            None => Err(name.to_owned()),
        };
        let (users, width) = matrix("user_vectors")?;
        let (items, item_width) = matrix("item_vectors")?;
        let compress = match find("scorer.compress.weight") {
            Some(_) => Some(Compress::of_tensors(&find).ok_or_else(|| "scorer.*".to_owned())?),
            None => None,
        };
        if width != item_width || width == 0 {
            return Err("item_vectors".to_owned());
        }
        let activated = find("scorer.gelu").is_some_and(|tensor| tensor.values.first().is_some_and(|v| *v > 0.0));
        Ok(Self { users, items, width, scorer: Scorer { compress, activated } })
    }

    /// How many users and items there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.users.len() / self.width, self.items.len() / self.width)
    }

    /// The tensors from which [`VectorScorer::of_tensors`] makes it again.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        let (users, items) = self.counts();
        let tensor = |name: &str, shape: &[usize], values: &[f32]| Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let mut all = vec![
            tensor("user_vectors", &[users, self.width], &self.users),
            tensor("item_vectors", &[items, self.width], &self.items),
            self.scorer.gelu_mark(),
        ];
        all.extend(self.scorer.clone().tensors());
        all
    }

    pub(crate) fn prepare(&self) -> PreparedScorer<'_> {
        let mut items = Packed::default();
        items.pack_transposed(&self.items, self.width, self.counts().1);
        let net = self.scorer.compress.as_ref().map(Compress::net);
        let numbers = net.as_ref().map(|_| squares_and_sums(&self.items, self.width)).unwrap_or_default();
        PreparedScorer { source: self, items, numbers, net }
    }
}

impl PreparedScorer<'_> {
    /// The scores of all items for some users, `[users, items]`.
    pub(crate) fn scores(&self, users: &[u32]) -> Vec<f32> {
        let width = self.source.width;
        let count = self.source.counts().1;
        let rows: Vec<f32> =
            users.iter().flat_map(|user| &self.source.users[*user as usize * width..][..width]).copied().collect();
        let mut scores = vec![0.0; users.len() * count];
        self.items.product(Left::Plain(&rows), users.len(), &mut scores, Mode::Set);
        if let Some(net) = &self.net {
            let [squares, sums] = &self.numbers;
            let mut scratch = PairScratch::default();
            for (user, scores) in rows.chunks_exact(width).zip(scores.chunks_exact_mut(count.max(1))) {
                net.score([dot(user, user), sum(user)], scores, squares, sums, &mut scratch);
            }
        }
        if self.source.scorer.activated {
            gelu_in_place(&mut scores);
        }
        scores
    }
}
