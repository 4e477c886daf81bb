//! Batches and the device threads: the only module that calls `models`. Knows nothing of plugins and messages.

mod meter;
mod queue;

pub use meter::{ModelCounts, ModelMeter};
pub use queue::Closed;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use millrace_models::{Device, ItemOutput, Model, RunError, Runner};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::failpoints::{self, Failpoint, Fault};
use crate::message::{Prediction, Tensor, TensorType};
use queue::{Batch, Queue};

/// A model in service: warmed up, checked, and run by threads of its own, one for each device and instance.
pub struct Served {
    name: Arc<str>,
    digest: String,
    device: String,
    wants: Arc<TensorType>,
    queue: Arc<Queue<Item>>,
    meter: Arc<ModelMeter>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How a model is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The model's name in `plugins.toml`.
    pub name: Arc<str>,
    /// The largest batch; the device's default where there is none.
    pub max_batch: Option<usize>,
    /// The longest that a tensor waits for others.
    pub max_wait: Duration,
    /// Cancelled when the device is lost: the process cannot use it again.
    pub device_lost: CancellationToken,
    /// Its counts: those of the model that it replaces, or new ones.
    pub meter: Arc<ModelMeter>,
}

/// A message on its way to a model. While there are any, a batch that is not full waits for them.
#[derive(Debug)]
pub struct BatchReservation {
    queue: Arc<Queue<Item>>,
    arrived: bool,
}

/// Why there is no prediction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// The model's output for this message is not finite.
    #[error("output {index} of the model is not finite")]
    NonFinite {
        /// Which output, from 0; the scores count as the first.
        index: usize,
    },
    /// The model fails for this message alone.
    #[error("the model failed: {0}")]
    Failed(String),
    /// Its deadline passed while it waited for the device.
    #[error("its deadline passed before the device was free for it")]
    Expired,
    /// The device is gone; the message is not to blame.
    #[error("the device is lost")]
    DeviceLost,
}

/// A prediction, and what it cost.
#[derive(Debug)]
pub struct Inferred {
    pub prediction: Prediction,
    /// Time of the device: its share of the batch's, without waiting for it.
    pub device: Duration,
}

/// The other tensors in the batch of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchSharing {
    /// Whatever is in its batch.
    #[default]
    Batch,
    /// Nothing: so that what it costs on one model can be compared with what it costs on another, whose batches are of
    /// other sizes.
    Alone,
}

/// The item owns the way back to who asked.
#[derive(Debug)]
struct Item {
    tensor: Tensor,
    deadline: Option<SystemTime>,
    batch_sharing: BatchSharing,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<Inferred, InferError>>;

impl Served {
    /// Puts a model on devices, each of which takes batches by itself, warms them up and checks their numbers; seconds to
    /// minutes.
    ///
    /// # Errors
    /// When a device fails or computes wrong numbers.
    pub async fn start(model: Model, devices: Vec<Device>, serving: ServeOptions) -> Result<Arc<Self>, RunError> {
        let by_device = devices.iter().map(Device::default_max_batch).min();
        let max_batch = serving.max_batch.or(by_device).unwrap_or(1);
        let queue = Arc::new(Queue::new(max_batch, serving.max_wait));
        let mut names: Vec<&str> = devices.iter().map(Device::name).collect();
        names.dedup();
        let served = Self {
            name: Arc::clone(&serving.name),
            digest: model.digest().to_owned(),
            device: names.join(", "),
            wants: Arc::new(model.input().clone()),
            queue: Arc::clone(&queue),
            meter: Arc::clone(&serving.meter),
            threads: Mutex::new(Vec::new()),
        };
        info!(model = &*serving.name, device = served.device, max_batch, "warming up");
        let began = Instant::now();
        // One after the other: each is compared with another executor, which takes all cores.
        for (index, device) in devices.into_iter().enumerate() {
            let thread = served.start_on(&model, device, max_batch, &serving, index).await?;
            served.threads().push(thread);
        }
        info!(
            model = &*served.name,
            device = served.device,
            took_ms = crate::streams::millis(began.elapsed()),
            "model ready"
        );
        Ok(Arc::new(served))
    }

    /// Warms up one device in a thread of its own, which then serves.
    async fn start_on(
        &self,
        model: &Model,
        device: Device,
        max_batch: usize,
        serving: &ServeOptions,
        index: usize,
    ) -> Result<JoinHandle<()>, RunError> {
        let (ready, warmed) = oneshot::channel();
        let (model, serving, queue) = (model.clone(), serving.clone(), Arc::clone(&self.queue));
        let name = match index {
            0 => format!("infer-{}", serving.name),
            _ => format!("infer-{}-{index}", serving.name),
        };
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let runner = Runner::new(&model, &device, max_batch).and_then(|mut runner| {
                let parity = runner.warm_up(&mut |batch| debug!(batch, "warmed up a batch size"))?;
                Ok((runner, parity))
            });
            let (runner, told) = match runner {
                Ok((runner, parity)) => (Some(runner), Ok(parity)),
                Err(error) => (None, Err(error)),
            };
            if ready.send(told).is_err() {
                return; // no caller waits for this model any more
            }
            if let Some(runner) = runner {
                let labels = model.labels().into();
                Worker {
                    name: serving.name,
                    labels,
                    runner,
                    device_lost: serving.device_lost,
                    meter: serving.meter,
                }
                .serve(&queue);
            }
        });
        let thread = spawned.map_err(|error| RunError::Failed(format!("cannot start the device thread: {error}")))?;
        let parity = warmed
            .await
            .map_err(|_| RunError::Failed("the device thread panicked".to_owned()))??;
        if let Some(parity) = parity {
            info!(
                model = &*self.name,
                device = parity.device,
                reference = parity.reference,
                largest_difference = format!("{:.1e}", parity.difference),
                same_top = parity.same_top,
                "the device computes the numbers of the reference"
            );
        }
        Ok(thread)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model's name in `plugins.toml`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the model folder, lower-case hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Where it runs.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The counts of its device thread.
    pub fn meter(&self) -> &Arc<ModelMeter> {
        &self.meter
    }

    /// The input type of the model.
    pub fn wants(&self) -> &Arc<TensorType> {
        &self.wants
    }

    /// Announces a message on its way to this model.
    pub fn reserve(&self) -> BatchReservation {
        self.queue.reserve();
        BatchReservation {
            queue: Arc::clone(&self.queue),
            arrived: false,
        }
    }

    /// Waits for the prediction for one tensor of the type that [`Self::wants`] says, which is not run once `deadline`
    /// has passed.
    ///
    /// # Errors
    /// By [`InferError`].
    pub async fn infer(
        &self,
        reservation: BatchReservation,
        tensor: Tensor,
        deadline: Option<SystemTime>,
    ) -> Result<Prediction, InferError> {
        let inferred = self.infer_in(reservation, tensor, deadline, BatchSharing::Batch).await;
        inferred.map(|inferred| inferred.prediction)
    }

    /// As [`Self::infer`], and says what it cost.
    ///
    /// # Errors
    /// By [`InferError`].
    ///
    /// # Cancellation
    /// An item that waits is not run; a batch that runs is run to its end.
    pub async fn infer_in(
        &self,
        reservation: BatchReservation,
        tensor: Tensor,
        deadline: Option<SystemTime>,
        batch_sharing: BatchSharing,
    ) -> Result<Inferred, InferError> {
        let (reply, prediction) = oneshot::channel();
        reservation.arrive(Item {
            tensor,
            deadline,
            batch_sharing,
            reply,
        });
        failpoints::pass(Failpoint::Queued, "").await;
        prediction.await.unwrap_or(Err(InferError::DeviceLost))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The threads end by themselves once their queue is empty; joining them here would block an async thread.
        self.queue.close();
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("name", &self.name)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl BatchReservation {
    fn arrive(mut self, item: Item) {
        self.arrived = true;
        self.queue.push(item);
    }
}

impl Drop for BatchReservation {
    fn drop(&mut self) {
        if !self.arrived {
            self.queue.cancel_reservation();
        }
    }
}

/// The state of the device thread.
struct Worker {
    name: Arc<str>,
    labels: Arc<[String]>,
    runner: Runner,
    device_lost: CancellationToken,
    meter: Arc<ModelMeter>,
}

impl Worker {
    /// Runs batches until the queue is closed and empty. The batch is formed when the device is free for it, so it is as
    /// full as can be.
    fn serve(mut self, queue: &Queue<Item>) {
        while let Some(Batch { items, closed }) = queue.next_batch() {
            self.meter.closed(closed, items.iter().map(|(came, _)| came.elapsed()));
            // A caller that a drain cut off, or that was taken back, no longer listens: its tensor need not run.
            let items = items
                .into_iter()
                .map(|(_, item)| item)
                .filter(|item| !item.reply.is_closed());
            let now = SystemTime::now();
            let (expired, items): (Vec<_>, Vec<_>) =
                items.partition(|item| item.deadline.is_some_and(|deadline| deadline <= now));
            for item in expired {
                answer(item.reply, Err(InferError::Expired));
            }
            let (alone, items): (Vec<_>, Vec<_>) = items
                .into_iter()
                .partition(|item| item.batch_sharing == BatchSharing::Alone);
            for item in alone {
                self.run(vec![item]);
            }
            if !items.is_empty() {
                self.run(items);
            }
        }
        debug!(model = &*self.name, "the device thread ends");
    }

    fn run(&mut self, items: Vec<Item>) {
        let (tensors, replies): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.tensor, item.reply)).unzip();
        let began = Instant::now();
        let predicted = self.predict(&tensors);
        let took = began.elapsed();
        self.meter.ran(took);
        let each = took / u32::try_from(tensors.len()).unwrap_or(u32::MAX).max(1);
        match predicted {
            Ok(outputs) => {
                debug!(
                    model = &*self.name,
                    batch = tensors.len(),
                    took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    "ran a batch"
                );
                for (reply, output) in replies.into_iter().zip(outputs) {
                    answer(reply, self.inferred(output, each));
                }
            }
            Err(RunError::DeviceLost(why)) => self.lose(&why, replies),
            Err(error) if tensors.len() > 1 => {
                warn!(model = &*self.name, batch = tensors.len(), %error, "a batch failed: running its items one by one");
                self.run_singly(tensors, replies);
            }
            Err(error) => replies
                .into_iter()
                .for_each(|reply| answer(reply, Err(InferError::Failed(error.to_string())))),
        }
    }

    fn predict(&mut self, tensors: &[Tensor]) -> Result<Vec<ItemOutput>, RunError> {
        match failpoints::hit(Failpoint::Model) {
            None => self.runner.run(tensors),
            Some(Fault::Fail) => Err(RunError::Failed("a failpoint".to_owned())),
            Some(Fault::Lost) => Err(RunError::DeviceLost("a failpoint".to_owned())),
        }
    }

    fn run_singly(&mut self, tensors: Vec<Tensor>, replies: Vec<Reply>) {
        let mut replies = replies.into_iter();
        for (tensor, reply) in tensors.into_iter().zip(replies.by_ref()) {
            let began = Instant::now();
            match self.predict(std::slice::from_ref(&tensor)) {
                Ok(outputs) => {
                    let none = || Err(InferError::Failed("the model gave no output".to_owned()));
                    answer(
                        reply,
                        outputs
                            .into_iter()
                            .next()
                            .map_or_else(none, |output| self.inferred(output, began.elapsed())),
                    );
                }
                Err(RunError::DeviceLost(why)) => return self.lose(&why, vec![reply]),
                Err(error) => answer(reply, Err(InferError::Failed(error.to_string()))),
            }
        }
    }

    /// Nothing is to blame but the device: everything is held by its source, and the process must be left.
    fn lose(&self, why: &str, replies: Vec<Reply>) {
        error!(model = &*self.name, why, "the device is lost");
        self.device_lost.cancel();
        replies
            .into_iter()
            .for_each(|reply| answer(reply, Err(InferError::DeviceLost)));
    }

    fn inferred(&self, output: ItemOutput, device: Duration) -> Result<Inferred, InferError> {
        self.prediction(output)
            .map(|prediction| Inferred { prediction, device })
    }

    fn prediction(&self, output: ItemOutput) -> Result<Prediction, InferError> {
        if output.scores.iter().any(|score| !score.is_finite()) {
            return Err(InferError::NonFinite { index: 0 });
        }
        let outputs = output
            .outputs
            .into_iter()
            .enumerate()
            .map(|(index, (tensor_type, values))| {
                let data = crate::message::TensorData::Floats(values);
                Tensor::new(tensor_type.shape, data).map_err(|_| InferError::NonFinite { index })
            });
        Ok(Prediction {
            model: Arc::clone(&self.name),
            labels: Arc::clone(&self.labels),
            scores: output.scores,
            outputs: outputs.collect::<Result<_, _>>()?,
        })
    }
}

fn answer(reply: Reply, result: Result<Inferred, InferError>) {
    if reply.send(result).is_err() {
        debug!("dropped a prediction: its message was given up");
    }
}
