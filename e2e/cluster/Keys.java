import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own producers and consumer on a compacted topic: each producer updates keys of its own with numbers that grow, now
 * and then with a tombstone, and in the end leaves a key for a new one; a reader reads the topic from its beginning again and
 * again meanwhile. For each key it has to find the last number that was acknowledged when it began, or a later one; only where
 * that may be a tombstone may it find nothing. Numbers of a key never fall. Nothing else may write to the topic.
 * Takes the orders status, quiesce and verify, a line each, and answers each with a line of JSON.
 * Arguments: BOOTSTRAP TOPIC PARTITIONS PRODUCERS RECORDS_PER_SECOND TOMBSTONES_KEPT_MS.
 */
public final class Keys {
    private static final int VALUE_BYTES = 100;
    /** How many keys a producer updates in turn. */
    private static final int KEYS = 100;
    /** Every so many updates of a key is a tombstone. */
    private static final int TOMBSTONE_EVERY = 7;
    private static final Duration READ_LIMIT = Duration.ofSeconds(180);
    private static final String NUMBER = "number";
    private static final List<String> FAULTS = List.of("lost", "returned", "backwards", "strange", "failed");
    /** How many faults are described, the others are only counted. */
    private static final int TOLD = 10;

    /** A key, which one producer alone writes to. */
    private static final class Key {
        final byte[] name;
        final long last;
        final boolean endsDeleted;
        /** The highest number that was given to the producer; the numbers begin with 0. */
        volatile long sent = -1;
        /** The highest number that was acknowledged. */
        volatile long acknowledged = -1;

        Key(int producer, long number) {
            this.name = (producer + "-" + number).getBytes(StandardCharsets.UTF_8);
            this.last = 20 + number % 60;
            this.endsDeleted = number % 2 == 0;
        }

        boolean isTombstone(long number) {
            return number % TOMBSTONE_EVERY == TOMBSTONE_EVERY - 1 || number == last && endsDeleted;
        }

        /** Whether what was written from a number on may be a tombstone that is gone by now. */
        boolean mayBeGone(long from, long to) {
            for (long number = from; number <= to; number++) {
                if (isTombstone(number)) {
                    return true;
                }
            }
            return false;
        }
    }

    private final String bootstrap;
    private final String topic;
    private final long interval;
    private final long tombstonesKeptMs;
    private final List<TopicPartition> partitions;
    private final Map<String, Key> keys = new ConcurrentHashMap<>();
    /** By partition: when it last took a record, in nanoseconds of CLOCK_MONOTONIC. */
    private final AtomicLongArray latest;
    private final AtomicLong acknowledged = new AtomicLong();
    private final Map<String, Long> faults = new ConcurrentHashMap<>();
    private final AtomicLong reads = new AtomicLong();
    private volatile boolean stopped;

    private Keys(String bootstrap, String topic, int partitions, int producers, int rate, long tombstonesKeptMs) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        this.interval = 1_000_000_000L * producers / rate;
        this.tombstonesKeptMs = tombstonesKeptMs;
        this.partitions = IntStream.range(0, partitions).mapToObj(number -> new TopicPartition(topic, number)).toList();
        this.latest = new AtomicLongArray(partitions);
    }

    public static void main(String[] arguments) throws InterruptedException {
        int[] numbers = IntStream.range(2, 6).map(at -> Integer.parseInt(arguments[at])).toArray();
        Keys keys = new Keys(arguments[0], arguments[1], numbers[0], numbers[1], numbers[2], numbers[3]);
        List<Thread> writers = IntStream.range(0, numbers[1]).mapToObj(keys::writer).toList();
        Thread reader = new Thread(keys::readOn);
        writers.forEach(Thread::start);
        reader.start();
        System.out.println(keys.status());
        Scanner orders = new Scanner(System.in);
        while (orders.hasNextLine()) {
            switch (orders.nextLine()) {
                case "status" -> System.out.println(keys.status());
                case "quiesce" -> {
                    keys.stopped = true;
                    for (Thread writer : writers) {
                        writer.join();
                    }
                    reader.join();
                    System.out.println(keys.status());
                }
                case "verify" -> System.out.println(keys.verdict());
                default -> throw new IllegalArgumentException("there are status, quiesce and verify");
            }
        }
        Runtime.getRuntime().halt(0);
    }

    private Thread writer(int number) {
        Thread thread = new Thread(() -> {
            try (KafkaProducer<byte[], byte[]> producer = producer()) {
                feed(producer, number);
            }
        });
        thread.setDaemon(true);
        return thread;
    }

    private KafkaProducer<byte[], byte[]> producer() {
        return new KafkaProducer<>(Map.ofEntries(
            Map.entry("bootstrap.servers", bootstrap),
            Map.entry("acks", "all"),
            Map.entry("enable.idempotence", "true"),
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

    private void feed(KafkaProducer<byte[], byte[]> producer, int number) {
        long made = 0;
        Key[] window = new Key[KEYS];
        long due = System.nanoTime();
        for (int at = 0; !stopped; at = (at + 1) % KEYS) {
            LockSupport.parkNanos(due - System.nanoTime());
            due += interval;
            if (window[at] == null || window[at].sent == window[at].last) {
                window[at] = new Key(number, made++);
                keys.put(new String(window[at].name, StandardCharsets.UTF_8), window[at]);
            }
            send(producer, window[at]);
        }
    }

    private void send(KafkaProducer<byte[], byte[]> producer, Key key) {
        long number = key.sent + 1;
        key.sent = number;
        byte[] value = key.isTombstone(number) ? null : ByteBuffer.allocate(VALUE_BYTES).putLong(number).array();
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, key.name, value);
        record.headers().add(NUMBER, ByteBuffer.allocate(Long.BYTES).putLong(number).array());
        producer.send(record, (metadata, failure) -> {
            if (failure == null) {
                key.acknowledged = Math.max(key.acknowledged, number);
                acknowledged.incrementAndGet();
                latest.set(metadata.partition(), System.nanoTime());
            }
        });
    }

    private String status() {
        return String.format("{\"oldest_ns\": %d}", IntStream.range(0, partitions.size()).mapToLong(latest::get).min().orElse(0));
    }

    private void readOn() {
        while (!stopped) {
            read();
        }
    }

    /** What one read of the topic found. */
    private record Read(long records, long gone, boolean isQuick) {}

    /** Reads the topic once and judges what is there. */
    private Read read() {
        Map<String, Long> least = new HashMap<>();
        keys.forEach((name, key) -> least.put(name, key.acknowledged));
        Map<String, Long> found = new HashMap<>();
        long begin = System.nanoTime();
        long records;
        try {
            records = readAll(found);
        } catch (RuntimeException failure) {
            fault("failed", "the topic cannot be read: " + failure);
            return new Read(0, 0, true);
        }
        reads.incrementAndGet();
        // Who reads for longer may see a value whose tombstone is gone when its turn comes.
        boolean isQuick = (System.nanoTime() - begin) / 1_000_000 < tombstonesKeptMs / 2;
        long gone = 0;
        for (Map.Entry<String, Long> entry : least.entrySet()) {
            Key key = keys.get(entry.getKey());
            long wanted = entry.getValue();
            Long number = found.get(entry.getKey());
            if (number == null && wanted >= 0) {
                gone++;
                if (!key.mayBeGone(wanted, key.sent)) {
                    fault("lost", "key " + entry.getKey() + " is gone, number " + wanted + " was acknowledged");
                }
            } else if (number != null && number < wanted && (isQuick || !key.mayBeGone(number + 1, key.sent))) {
                String kind = key.isTombstone(wanted) ? "returned" : "lost";
                fault(kind, "key " + entry.getKey() + " has number " + number + ", " + wanted + " was acknowledged");
            }
        }
        return new Read(records, gone, isQuick);
    }

    /** All partitions from their beginnings to their ends as they are now: the last number of each key into {@code found}. */
    private long readAll(Map<String, Long> found) {
        long records = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(Map.of(
                "bootstrap.servers", bootstrap,
                "enable.auto.commit", "false",
                "default.api.timeout.ms", "120000",
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
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    records++;
                    take(record, found);
                }
            }
        }
        return records;
    }

    private void take(ConsumerRecord<byte[], byte[]> record, Map<String, Long> found) {
        String name = new String(record.key(), StandardCharsets.UTF_8);
        Header header = record.headers().lastHeader(NUMBER);
        Key key = keys.get(name);
        long number = header == null ? -1 : ByteBuffer.wrap(header.value()).getLong();
        boolean isAsSent = key != null && number >= 0 && number <= key.sent && (record.value() == null
            ? key.isTombstone(number)
            : !key.isTombstone(number) && ByteBuffer.wrap(record.value()).getLong() == number);
        if (!isAsSent) {
            fault("strange", record.toString());
            return;
        }
        Long before = found.put(name, number);
        if (before != null && before >= number) {
            fault("backwards", "key " + name + " has number " + number + " behind " + before + " at " + record.offset());
        }
    }

    private void fault(String kind, String what) {
        if (faults.merge(kind, 1L, Long::sum) <= TOLD) {
            System.err.println(kind + ": " + what);
        }
    }

    /** Reads once more; nothing is written any more. What was found in reads before counts too. */
    private String verdict() {
        Read read = read();
        if (!read.isQuick()) {
            fault("failed", "the last read took too long for what was deleted to be judged");
        }
        Map<String, Long> found = new LinkedHashMap<>();
        found.put("acknowledged", acknowledged.get());
        found.put("in_doubt", keys.values().stream().mapToLong(key -> key.sent + 1).sum() - acknowledged.get());
        found.put("keys", (long) keys.size());
        found.put("gone", read.gone());
        found.put("in_log", read.records());
        found.put("reads", reads.get());
        FAULTS.forEach(kind -> found.put(kind, faults.getOrDefault(kind, 0L)));
        String rows = found.entrySet().stream()
            .map(row -> "\"" + row.getKey() + "\": " + row.getValue())
            .collect(Collectors.joining(", "));
        return "{\"sound\": " + faults.isEmpty() + ", \"compacted\": {" + rows + "}}";
    }
}
