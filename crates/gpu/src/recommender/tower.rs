//! One tower: embeddings side by side (and the text's layer) through an MLP,
//! there and back.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::ops::{Activation, Normalized, indices, linear, matrix};
use super::parameters::{Parameters, Place};
use super::product::{product, product_over_rows, sum_rows};
use super::{RecommenderError, Side};

/// What a tower reads and which weights are its own.
#[derive(Debug, Clone)]
pub(super) struct Tower<B: Backend> {
    /// For each column its codes, counted among all rows of the tables.
    columns: Vec<Vec<u32>>,
    /// `[entities, width]`
    text: Option<Tensor<B, 2>>,
    text_layer: Option<[Place; 2]>,
    layers: [[Place; 2]; 3],
    activation: Activation,
}

/// What the way back needs.
pub(super) struct Passed<B: Backend> {
    pub(super) out: Tensor<B, 2>,
    /// The gathered rows of the tables, row by row.
    pub(super) codes: Vec<u32>,
    joined: Tensor<B, 2>,
    text: Option<[Tensor<B, 2>; 2]>,
    normalized: [Normalized<B>; 2],
    before_last: Tensor<B, 2>,
}

/// Gradients of a tower's weights.
pub(super) struct Gradients<B: Backend> {
    /// Of the gathered rows, `[rows * columns, embedding]`.
    pub(super) rows: Tensor<B, 2>,
    pub(super) dense: Vec<(Place, Tensor<B, 1>)>,
}

/// The places of a layer's weight and bias.
pub(super) fn layer<B: Backend>(parameters: &Parameters<B>, name: &str) -> Result<[Place; 2], RecommenderError> {
    let place = |part: &str| {
        let name = format!("{name}.{part}");
        parameters.place(&name).ok_or(RecommenderError::Weights(name))
    };
    Ok([place("weight")?, place("bias")?])
}

/// The gradients of a layer, from those of what it gives and what it was given.
pub(super) fn layer_gradients<B: Backend>(
    places: [Place; 2],
    flowing: &Tensor<B, 2>,
    input: Tensor<B, 2>,
) -> [(Place, Tensor<B, 1>); 2] {
    let weight = product_over_rows(flowing.clone(), input);
    let count = weight.dims()[0] * weight.dims()[1];
    [(places[0], weight.reshape([count])), (places[1], sum_rows(flowing.clone()))]
}

impl<B: Backend> Tower<B> {
    pub(super) fn new(
        name: &str,
        side: &Side<'_>,
        parameters: &Parameters<B>,
        activation: Activation,
        device: &B::Device,
    ) -> Result<Self, RecommenderError> {
        let column = |(column, codes): &(&str, &[u32])| {
            let name = format!("{name}.embeddings.{column}.weight");
            let first = parameters.first_row(&name).ok_or(RecommenderError::Weights(name))? as u32;
            Ok(codes.iter().map(|code| code + first).collect())
        };
        let text = side.text.map(|(width, values)| {
            let rows = values.len() / width.max(1);
            matrix(values.to_vec(), [rows, width], device)
        });
        Ok(Self {
            columns: side.columns.iter().map(column).collect::<Result<_, RecommenderError>>()?,
            text_layer: if text.is_some() { Some(layer(parameters, &format!("{name}.text"))?) } else { None },
            text,
            layers: [
                layer(parameters, &format!("{name}.mlp.0"))?,
                layer(parameters, &format!("{name}.mlp.3"))?,
                layer(parameters, &format!("{name}.mlp.6"))?,
            ],
            activation,
        })
    }

    /// How many entities there are.
    pub(super) fn count(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// The outputs of some entities.
    pub(super) fn forward(&self, parameters: &Parameters<B>, entities: &[u32], device: &B::Device) -> Passed<B> {
        let codes: Vec<u32> = entities
            .iter()
            .flat_map(|entity| self.columns.iter().map(move |column| column[*entity as usize]))
            .collect();
        let mut joined = parameters.rows(&codes, self.columns.len());
        let text = self.text.as_ref().zip(self.text_layer).map(|(vectors, places)| {
            let text = vectors.clone().select(0, indices(entities, device));
            let before = linear(text.clone(), parameters.matrix(places[0]), parameters.vector(places[1]));
            [text, before]
        });
        if let Some([_, before]) = &text {
            joined = Tensor::cat(vec![joined, self.activation.apply(before.clone())], 1);
        }
        let through =
            |x: Tensor<B, 2>, [weight, bias]: [Place; 2]| linear(x, parameters.matrix(weight), parameters.vector(bias));
        let first = Normalized::of(through(joined.clone(), self.layers[0]));
        let second = Normalized::of(through(self.activation.apply(first.rows.clone()), self.layers[1]));
        let before_last = through(self.activation.apply(second.rows.clone()), self.layers[2]);
        let out = self.activation.apply(before_last.clone());
        Passed { out, codes, joined, text, normalized: [first, second], before_last }
    }

    /// The gradients of all weights, given that of the output.
    pub(super) fn backward(
        &self,
        parameters: &Parameters<B>,
        passed: Passed<B>,
        gradient: Tensor<B, 2>,
    ) -> Gradients<B> {
        let mut dense = Vec::new();
        let mut flowing = gradient * self.activation.slope(passed.before_last);
        for depth in [1, 0] {
            let normalized = &passed.normalized[depth];
            let active = self.activation.apply(normalized.rows.clone());
            dense.extend(layer_gradients(self.layers[depth + 1], &flowing, active));
            let before = product(flowing, parameters.matrix(self.layers[depth + 1][0]));
            flowing = normalized.backward(before * self.activation.slope(normalized.rows.clone()));
        }
        dense.extend(layer_gradients(self.layers[0], &flowing, passed.joined));
        let joined = product(flowing, parameters.matrix(self.layers[0][0]));
        let [count, width] = joined.dims();
        let mut embedded = width;
        if let (Some([text, before]), Some(places)) = (passed.text, self.text_layer) {
            embedded -= before.dims()[1];
            let own = joined.clone().slice([0..count, embedded..width]) * self.activation.slope(before);
            dense.extend(layer_gradients(places, &own, text));
        }
        let columns = self.columns.len();
        let rows = joined.slice([0..count, 0..embedded]).reshape([count * columns, embedded / columns]);
        Gradients { rows, dense }
    }
}
