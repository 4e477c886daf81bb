//! One way after another to make a graph of a file: with the number of items free, and if that fails as the file has it.

use millrace_graph::{Builder, Graph, Operand, Shape};

use crate::element::Element;
use crate::file::{Counts, Dim, ModelView, ValueInfo};
use crate::known::{Budget, Kind};
use crate::limits;
use crate::lower::emit::{Batch, Emitter};
use crate::lower::inline::Functions;
use crate::lower::scope::Scope;
use crate::lower::value::{Run, Value};
use crate::lower::{Frame, Lowering, order};
use crate::problem::{Problem, Problems, Refusal, advise, refuse};
use crate::shown::shown;
use crate::weights::Weights;

/// The input that a network has.
pub(crate) struct Input<'v, 'a> {
    pub(crate) value: &'v ValueInfo<'a>,
    pub(crate) element: Element,
    // Invariant: at least one axis.
    pub(crate) dims: &'v [Dim<'a>],
}

/// The only input that is used.
pub(crate) fn input<'v, 'a>(view: &'v ModelView<'a>) -> Result<Input<'v, 'a>, Problem> {
    let outputs: Vec<&str> = view.graph.outputs.iter().map(|output| output.name).collect();
    let order = order::of(&view.graph.nodes, &outputs, &mut Counts::default())?;
    // The older exporters list every initialiser among the inputs, and there may be thousands.
    let names: std::collections::HashSet<&str> = view.graph.initializers.iter().map(|view| view.name).collect();
    let free: Vec<&ValueInfo<'a>> = view
        .graph
        .inputs
        .iter()
        .filter(|value| !names.contains(value.name))
        .collect();
    let used: Vec<&ValueInfo<'a>> = free.iter().copied().filter(|value| order.is_read(value.name)).collect();
    let value = match used[..] {
        [value] => value,
        [] => match free[..] {
            [value] => value,
            _ => return Err(Problem::of_model("none of its outputs depends on an input", "")),
        },
        _ => {
            let names: Vec<String> = used
                .iter()
                .take(8)
                .map(|value| format!("`{}`", shown(value.name)))
                .collect();
            return Err(Problem::of_model(
                format!("it has {} inputs: {}", used.len(), names.join(", ")),
                "export a network that takes one input, the image",
            ));
        }
    };
    let name = shown(value.name);
    let element = Element::of(value.kind).map_err(|kind| {
        Problem::of_model(
            format!("its input `{name}` is of type {kind}"),
            "export a network that takes float32 or uint8",
        )
    })?;
    let fits = element.kind() == Kind::Float || element == Element::Uint8;
    let dims = value.dims.as_deref().filter(|dims| !dims.is_empty());
    if value.dims.as_ref().is_some_and(Vec::is_empty) {
        return Err(Problem::of_model(
            format!("its input `{name}` has no axes, not even one for the batch"),
            "export a network that takes a batch of images",
        ));
    }
    match (fits, dims) {
        (true, Some(dims)) => Ok(Input { value, element, dims }),
        (false, _) => Err(Problem::of_model(
            format!("its input `{name}` is of type {element:?}").to_lowercase(),
            "export a network that takes float32 or uint8",
        )),
        (true, None) => Err(Problem::of_model(
            format!("the file does not say how many axes its input `{name}` has"),
            "export with an example input of the real shape",
        )),
    }
}

/// The number of a dimension; nothing where it is free.
pub(crate) fn fixed(dim: Dim<'_>) -> Option<usize> {
    match dim {
        Dim::Fixed(size) => usize::try_from(size).ok().filter(|size| *size > 0),
        Dim::Free(_) => None,
    }
}

/// A graph of a file, and what became of its batch axis.
pub(crate) fn lower<'a>(
    view: &ModelView<'a>,
    weights: &Weights<'a>,
    item: Option<&[usize]>,
) -> Result<(Graph, Batch), Vec<Problem>> {
    let input = input(view).map_err(|problem| vec![problem])?;
    let (first, rest) = input
        .dims
        .split_first()
        .ok_or_else(|| vec![Problem::of_model("its input has no axes", "")])?;
    let is_one_item = matches!((input.dims.len(), fixed(*first)), (1, Some(_)) | (3, Some(3 | 4)));
    if is_one_item {
        let dims = bound(&input, input.dims, item)?;
        return attempt(view, weights, &input, Shape::fixed(&dims), Batch::Fixed).map(|graph| (graph, Batch::Fixed));
    }
    let rest = bound(&input, rest, item)?;
    let free = Shape::batch_of(&rest);
    let as_is = |items: usize| Shape::fixed(&[&[items][..], &rest].concat());
    let attempt = |shape: Shape, batch: Batch| attempt(view, weights, &input, shape, batch).map(|graph| (graph, batch));
    match fixed(*first) {
        None => attempt(free.clone(), Batch::Free).or_else(|problems| {
            // Shapes of a trace with one item may have stayed in it.
            attempt(free, Batch::Reread(1)).map_err(|_| problems)
        }),
        Some(1) => attempt(free, Batch::Reread(1)).or_else(|_| attempt(as_is(1), Batch::Fixed)),
        Some(items) => attempt(free, Batch::Reread(items)).map_err(|problems| match attempt(as_is(items), Batch::Fixed) {
            Err(problems) => problems,
            Ok(_) => {
                let mut all = vec![Problem::of_model(
                    format!("it is for {items} items at a time, and cannot be made one for any number"),
                    "export with a free batch axis (`dynamic_axes={\"input\": {0: \"batch\"}}`, or `dynamic_shapes`), or with a batch of 1",
                )];
                all.extend(problems);
                all
            }
        }),
    }
}

/// The lengths of an item; those that are free in the file as they are given.
fn bound(input: &Input<'_, '_>, dims: &[Dim<'_>], item: Option<&[usize]>) -> Result<Vec<usize>, Vec<Problem>> {
    let name = shown(input.value.name);
    if let Some(item) = item
        && item.len() != dims.len()
    {
        let problem = format!(
            "its input `{name}` has {} axes beside the batch, and {item:?} was given for an item",
            dims.len()
        );
        return Err(vec![Problem::of_model(
            problem,
            "give a number for each axis of an item",
        )]);
    }
    let mut lengths = Vec::new();
    for (at, dim) in dims.iter().enumerate() {
        let given = item.and_then(|item| item.get(at).copied());
        lengths.push(match (fixed(*dim), given) {
            (Some(own), Some(given)) if own != given => {
                let problem = format!("axis {at} of an item is {own} in the file and was given as {given}");
                return Err(vec![Problem::of_model(problem, "leave it out, or give the length of the file")]);
            }
            (Some(length), _) | (None, Some(length)) => length,
            (None, None) => {
                let problem = format!("axis {at} of an item of its input `{name}` is free");
                return Err(vec![Problem::of_model(
                    problem,
                    "say how large the images are, as in `input = [3, 224, 224]`, or export with a fixed height and width",
                )]);
            }
        });
    }
    Ok(lengths)
}

/// Makes the graph in one way.
fn attempt<'a>(
    view: &ModelView<'a>,
    weights: &Weights<'a>,
    input: &Input<'_, 'a>,
    shape: Shape,
    batch: Batch,
) -> Result<Graph, Vec<Problem>> {
    let builder = Builder::new(&shown(input.value.name), shape);
    let mut lowering = Lowering {
        view,
        weights,
        em: Emitter::new(builder, batch, Budget::of(limits::FOLDED)),
        problems: Problems::default(),
        counts: Counts::default(),
        functions: Functions::of(view),
        steps_left: limits::STEPS,
    };
    if let Err(problem) = lowering.graph(input) {
        lowering.problems.add(problem);
    }
    if !lowering.problems.is_empty() {
        return Err(lowering.problems.into_list());
    }
    lowering
        .em
        .finish()
        .map_err(|refusal| vec![Problem::of_model(refusal.what, refusal.advice)])
}

impl<'a> Lowering<'_, 'a> {
    fn graph(&mut self, input: &Input<'_, 'a>) -> Result<(), Problem> {
        let graph = &self.view.graph;
        let mut scope = Scope::of_graph(graph, None);
        let run = Run {
            id: self.em.input(),
            kind: input.element.kind(),
        };
        scope.insert(input.value.name, Value::Run(run));
        let outputs: Vec<&'a str> = graph.outputs.iter().map(|output| output.name).collect();
        let frame = Frame {
            opsets: &self.view.opsets,
            attributes: &[],
            depth: 0,
        };
        self.nodes(&graph.nodes, &outputs, &mut scope, frame)?;
        for output in &graph.outputs {
            if let Err(refusal) = self.output(output, &scope) {
                self.problems.node("output", output.name, refusal);
            }
        }
        Ok(())
    }

    fn output(&mut self, output: &ValueInfo<'a>, scope: &Scope<'_, 'a>) -> Result<(), Refusal> {
        let value = match self.value(output.name, scope) {
            Ok(Value::Broken) | Err(None) => return Ok(()),
            Err(Some(refusal)) => return Err(refusal),
            Ok(value) => value,
        };
        self.em.node = shown(output.name);
        let operand = self.em.operand(&value)?;
        let id = self.em.at_run_time(operand)?;
        if !self.em.has_items_first(id) {
            let shape = self.em.shape_of(Operand::Value(id));
            return Err(advise(
                format!("its shape {shape} does not begin with the batch"),
                "transpose it so that the batch is its first axis, or leave it out of the outputs",
            ));
        }
        self.as_declared(output, &self.em.shape_of(Operand::Value(id)))?;
        self.em.output(&shown(output.name), id);
        Ok(())
    }

    /// Compares with what the file says of an output, where it has just so many items: a shape that was read anew as one
    /// with a free batch axis must be the file's for the file's batch.
    fn as_declared(&self, output: &ValueInfo<'a>, shape: &Shape) -> Result<(), Refusal> {
        let (Batch::Reread(items), Some(dims)) = (self.em.batch, &output.dims) else {
            return Ok(());
        };
        let Some(declared) = dims.iter().map(|dim| fixed(*dim)).collect::<Option<Vec<usize>>>() else {
            return Ok(());
        };
        let without = |shape: &[usize]| shape.iter().copied().filter(|size| *size != 1).collect::<Vec<usize>>();
        match shape.at(items) {
            // An axis for the items may be there that the file leaves out for its one.
            Some(found) if found == declared || items == 1 && without(&found) == without(&declared) => Ok(()),
            _ => Err(refuse(format!(
                "it has shape {shape}, and the file says {declared:?} for {items} items"
            ))),
        }
    }
}
