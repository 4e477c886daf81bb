//! The least that keeps the same promise: consume, publish mandatory and confirmed, acknowledge. No work at all.

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

/// The size of a small JSON result.
pub(crate) const RESULT_BYTES: usize = 64;

/// Echoes until the connection ends. Two connections, as the host has: one consumes, one publishes.
pub(crate) async fn run(url: &str, input: &str, results: &str, prefetch: u16) -> Result<()> {
    let consuming = Connection::connect(url, ConnectionProperties::default()).await?;
    let publishing = Connection::connect(url, ConnectionProperties::default()).await?;
    let (source, sink) = (consuming.create_channel().await?, publishing.create_channel().await?);
    sink.confirm_select(ConfirmSelectOptions::default()).await?;
    source.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = source
        .basic_consume(ShortString::try_new(input)?, "echo".into(), options, arguments)
        .await?;
    let results = ShortString::try_new(results)?;
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = delivery.context("the broker cancelled the consumer")??;
                in_flight.push(answer(&sink, &results, delivery));
            }
            Some(answered) = in_flight.next() => answered?,
        }
    }
}

async fn answer(sink: &Channel, results: &ShortString, delivery: Delivery) -> Result<()> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let mut properties = BasicProperties::default().with_delivery_mode(2);
    if let Some(id) = delivery.properties.message_id() {
        properties = properties.with_correlation_id(id.clone());
    }
    let body = [b'x'; RESULT_BYTES];
    let confirm = sink
        .basic_publish("".into(), results.clone(), options, &body, properties)
        .await?;
    ensure!(
        matches!(confirm.await?, Confirmation::Ack(None)),
        "a result was not taken"
    );
    ensure!(
        delivery.acker.ack(BasicAckOptions::default()).await?,
        "the acknowledgement was not sent"
    );
    Ok(())
}
