import java.util.Arrays;
import java.util.Collection;
import java.util.Map;
import java.util.Scanner;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.IntStream;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own producer, which retries and reconnects after 10 to 50 ms, with its defaults beside that: how long its
 * writes wait after a broker has failed. Takes the orders that the program `chaos probe` takes, and answers alike.
 * Arguments: BOOTSTRAP TOPIC PARTITIONS RECORDS_PER_SECOND LIMIT_SECONDS.
 */
public final class Probe {
    /** What was acknowledged of the records sent since a moment, by partition, in nanoseconds of CLOCK_MONOTONIC. */
    record Watch(long sentFrom, Map<Integer, Long> acknowledged) {}

    private static volatile Watch watch;

    public static void main(String[] arguments) throws InterruptedException {
        String topic = arguments[1];
        int partitions = Integer.parseInt(arguments[2]);
        long interval = 1_000_000_000L / Integer.parseInt(arguments[3]);
        long limit = 1_000_000_000L * Integer.parseInt(arguments[4]);
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Map.of(
            "bootstrap.servers", arguments[0],
            "acks", "all",
            "linger.ms", "0",
            "retry.backoff.ms", "10",
            "retry.backoff.max.ms", "50",
            "reconnect.backoff.ms", "10",
            "reconnect.backoff.max.ms", "50",
            "key.serializer", ByteArraySerializer.class.getName(),
            "value.serializer", ByteArraySerializer.class.getName()));
        watch = new Watch(System.nanoTime(), new ConcurrentHashMap<>());
        Thread feed = new Thread(() -> feed(producer, topic, partitions, interval));
        feed.setDaemon(true);
        feed.start();
        await(watch, partitions, limit);
        System.out.println("\"ready\"");
        Scanner orders = new Scanner(System.in);
        while (orders.hasNextLine()) {
            String[] words = orders.nextLine().split(" ");
            long failed = Long.parseLong(words[1]);
            int[] led = Arrays.stream(words[2].split(",")).mapToInt(Integer::parseInt).toArray();
            Watch since = new Watch(System.nanoTime(), new ConcurrentHashMap<>());
            watch = since;
            await(since, partitions, limit);
            Map<Integer, Long> acknowledged = since.acknowledged();
            Collection<Long> ofLeader = Arrays.stream(led).mapToObj(acknowledged::get).toList();
            String first = ms(failed, ofLeader.stream().filter(at -> at != null).min(Long::compare).orElse(null));
            System.out.printf("{\"java\": {\"first_ms\": %s, \"all_ms\": %s, \"topic_ms\": %s}}%n", first,
                last(failed, acknowledged, Arrays.stream(led)), last(failed, acknowledged, IntStream.range(0, partitions)));
        }
        // What is still queued for a broker that is away is of no interest.
        Runtime.getRuntime().halt(0);
    }

    private static void feed(KafkaProducer<byte[], byte[]> producer, String topic, int partitions, long interval) {
        byte[] value = new byte[100];
        long due = System.nanoTime();
        for (int partition = 0; ; partition = (partition + 1) % partitions) {
            long wait = due - System.nanoTime();
            if (wait > 0) {
                java.util.concurrent.locks.LockSupport.parkNanos(wait);
            }
            due += interval;
            long sent = System.nanoTime();
            producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, failure) -> {
                Watch current = watch;
                // Records that were sent before tell nothing: their acknowledgement may have been on its way.
                if (failure == null && sent >= current.sentFrom()) {
                    current.acknowledged().putIfAbsent(metadata.partition(), System.nanoTime());
                }
            });
        }
    }

    private static void await(Watch watch, int partitions, long limit) throws InterruptedException {
        long begin = System.nanoTime();
        while (watch.acknowledged().size() < partitions && System.nanoTime() - begin < limit) {
            Thread.sleep(1);
        }
    }

    /** Until all of the partitions had acknowledged a record; null if one has not. */
    private static String last(long failed, Map<Integer, Long> acknowledged, IntStream partitions) {
        Long last = 0L;
        for (int partition : partitions.toArray()) {
            Long at = acknowledged.get(partition);
            if (at == null) {
                return "null";
            }
            last = Math.max(last, at);
        }
        return ms(failed, last);
    }

    private static String ms(long from, Long to) {
        return to == null ? "null" : String.format(java.util.Locale.ROOT, "%.3f", (to - from) / 1e6);
    }
}
