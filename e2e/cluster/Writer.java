import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own producer without idempotence and with one request under way: it then sends nothing more to a partition,
 * whoever leads that by now, until the records before are answered for, so that their order is kept. Takes the orders
 * that the program `chaos verify` takes, and answers alike. Nothing else may write to the topic.
 * Arguments: BOOTSTRAP TOPIC PARTITIONS RECORDS_PER_SECOND.
 */
public final class Writer {
    private static final int VALUE_BYTES = 100;
    private static final Duration READ_LIMIT = Duration.ofSeconds(180);
    private static final List<String> FAULTS = List.of("lost", "misplaced", "reordered", "strange");
    /** Stands for a record that was not acknowledged. */
    private static final long IN_DOUBT = -1;

    private final String bootstrap;
    private final String topic;
    private final long interval;
    /** By partition and number: the offset that the acknowledgement named. */
    private final List<List<Long>> sent;
    /** By partition: when it last took a record, in nanoseconds of CLOCK_MONOTONIC. */
    private final AtomicLongArray latest;
    private volatile boolean stopped;

    private Writer(String bootstrap, String topic, int partitions, int rate) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        this.interval = 1_000_000_000L / rate;
        this.sent = IntStream.range(0, partitions).<List<Long>>mapToObj(partition -> new ArrayList<>()).toList();
        this.latest = new AtomicLongArray(partitions);
    }

    public static void main(String[] arguments) throws InterruptedException {
        Writer writer = new Writer(arguments[0], arguments[1], Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]));
        KafkaProducer<byte[], byte[]> producer = writer.producer();
        Thread feed = new Thread(() -> writer.feed(producer));
        feed.setDaemon(true);
        feed.start();
        System.out.println(writer.status());
        Scanner orders = new Scanner(System.in);
        while (orders.hasNextLine()) {
            switch (orders.nextLine()) {
                case "status" -> System.out.println(writer.status());
                case "quiesce" -> {
                    writer.stopped = true;
                    feed.join();
                    producer.close();
                    System.out.println(writer.status());
                }
                case "verify" -> System.out.println(writer.verdict());
                default -> throw new IllegalArgumentException("there are status, quiesce and verify");
            }
        }
        Runtime.getRuntime().halt(0);
    }

    private KafkaProducer<byte[], byte[]> producer() {
        return new KafkaProducer<>(Map.ofEntries(
            Map.entry("bootstrap.servers", bootstrap),
            Map.entry("acks", "all"),
            Map.entry("enable.idempotence", "false"),
            Map.entry("max.in.flight.requests.per.connection", "1"),
            Map.entry("linger.ms", "5"),
            Map.entry("request.timeout.ms", "5000"),
            Map.entry("delivery.timeout.ms", "180000"),
            Map.entry("max.block.ms", "180000"),
            Map.entry("retry.backoff.ms", "20"),
            Map.entry("retry.backoff.max.ms", "500"),
            Map.entry("reconnect.backoff.ms", "10"),
            Map.entry("reconnect.backoff.max.ms", "500"),
            Map.entry("key.serializer", ByteArraySerializer.class.getName()),
            Map.entry("value.serializer", ByteArraySerializer.class.getName())));
    }

    private void feed(KafkaProducer<byte[], byte[]> producer) {
        long due = System.nanoTime();
        for (int partition = 0; !stopped; partition = (partition + 1) % sent.size()) {
            LockSupport.parkNanos(due - System.nanoTime());
            due += interval;
            List<Long> page = sent.get(partition);
            int number = enter(page);
            byte[] value = ByteBuffer.allocate(VALUE_BYTES).putLong(number).array();
            producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, failure) -> {
                if (failure == null) {
                    synchronized (page) {
                        page.set(number, metadata.offset());
                    }
                    latest.set(metadata.partition(), System.nanoTime());
                }
            });
        }
    }

    private static int enter(List<Long> page) {
        synchronized (page) {
            page.add(IN_DOUBT);
            return page.size() - 1;
        }
    }

    private String status() {
        return String.format("{\"oldest_ns\": %d}", IntStream.range(0, sent.size()).mapToLong(latest::get).min().orElse(0));
    }

    private String verdict() {
        Map<String, Long> found = new LinkedHashMap<>();
        for (String kind : List.of("acknowledged", "in_doubt", "repeated", "in_log")) {
            found.put(kind, 0L);
        }
        FAULTS.forEach(kind -> found.put(kind, 0L));
        List<List<ConsumerRecord<byte[], byte[]>>> logs = readAll();
        for (int partition = 0; partition < sent.size(); partition++) {
            check(sent.get(partition), logs.get(partition), found);
        }
        boolean sound = FAULTS.stream().allMatch(kind -> found.get(kind) == 0);
        String rows = found.entrySet().stream()
            .map(row -> "\"" + row.getKey() + "\": " + row.getValue())
            .collect(Collectors.joining(", "));
        return "{\"sound\": " + sound + ", \"java_plain\": {" + rows + "}}";
    }

    /** Accounts for one partition. */
    private static void check(List<Long> sent, List<ConsumerRecord<byte[], byte[]>> log, Map<String, Long> found) {
        Map<Long, Long> numbers = new HashMap<>();
        BitSet there = new BitSet();
        long highest = -1;
        for (ConsumerRecord<byte[], byte[]> record : log) {
            long number = record.value().length == VALUE_BYTES ? ByteBuffer.wrap(record.value()).getLong() : -1;
            numbers.put(record.offset(), number);
            if (number < 0 || number >= sent.size()) {
                count(found, "strange");
            } else if (there.get((int) number)) {
                count(found, "repeated");
            } else {
                if (number < highest) {
                    count(found, "reordered");
                }
                there.set((int) number);
                highest = Math.max(highest, number);
            }
            count(found, "in_log");
        }
        for (int number = 0; number < sent.size(); number++) {
            long offset = sent.get(number);
            count(found, offset == IN_DOUBT ? "in_doubt" : "acknowledged");
            if (offset != IN_DOUBT && !there.get(number)) {
                count(found, "lost");
            } else if (offset != IN_DOUBT && !Long.valueOf(number).equals(numbers.get(offset))) {
                count(found, "misplaced");
            }
        }
    }

    private static void count(Map<String, Long> found, String kind) {
        found.merge(kind, 1L, Long::sum);
    }

    /** All partitions from their beginnings to their ends. Nothing is written any more. */
    private List<List<ConsumerRecord<byte[], byte[]>>> readAll() {
        List<TopicPartition> partitions =
            IntStream.range(0, sent.size()).mapToObj(partition -> new TopicPartition(topic, partition)).toList();
        List<List<ConsumerRecord<byte[], byte[]>>> logs = new ArrayList<>();
        partitions.forEach(partition -> logs.add(new ArrayList<>()));
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(Map.of(
                "bootstrap.servers", bootstrap,
                "enable.auto.commit", "false",
                "key.deserializer", ByteArrayDeserializer.class.getName(),
                "value.deserializer", ByteArrayDeserializer.class.getName()))) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long begin = System.nanoTime();
            while (!partitions.stream().allMatch(partition -> consumer.position(partition) >= ends.get(partition))) {
                if (System.nanoTime() - begin > READ_LIMIT.toNanos()) {
                    throw new IllegalStateException("the topic could not be read to its end within " + READ_LIMIT);
                }
                consumer.poll(Duration.ofMillis(100)).forEach(record -> logs.get(record.partition()).add(record));
            }
        }
        return logs;
    }
}
