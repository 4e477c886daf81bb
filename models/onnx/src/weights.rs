//! The numbers of a file's tensors, each made only once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::element::decode;
use crate::error::TensorFault;
use crate::file::TensorView;
use crate::known::Tensor;
use crate::limits;
use crate::source::Source;

/// Tensors that were read, by where they are in the file.
#[derive(Debug)]
pub(crate) struct Weights<'a> {
    source: &'a Source,
    read: RefCell<HashMap<usize, Tensor>>,
    left: Cell<usize>,
}

impl<'a> Weights<'a> {
    pub(crate) fn of(source: &'a Source) -> Self {
        Self {
            source,
            read: RefCell::default(),
            left: Cell::new(limits::WEIGHTS),
        }
    }

    /// The numbers of a tensor, shared with whoever asked before.
    pub(crate) fn get(&self, view: &TensorView<'_>) -> Result<Tensor, TensorFault> {
        if let Some(tensor) = self.read.borrow().get(&view.place()) {
            return Ok(tensor.clone());
        }
        let declared = view.elements();
        let left = self.left.get().checked_sub(declared).ok_or(TensorFault::Large {
            declared,
            limit: limits::WEIGHTS,
        })?;
        let tensor = decode(view, self.source)?;
        self.left.set(left);
        self.read.borrow_mut().insert(view.place(), tensor.clone());
        Ok(tensor)
    }
}
