// The Java client of Kafka, told what to do by lines of its standard input.
//
//   Client produce PORT [NAME=VALUE...]          send TOPIC COUNT BYTES [traced]
//   Client consume PORT TOPIC GROUP [NAME=VALUE...]   poll COUNT
//
// It answers each line with one for each message ("sent TOPIC PARTITION OFFSET", "failed ERROR",
// "got TOPIC PARTITION OFFSET TRACEPARENT") and "done". What was got is committed before that.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Client {
    static final BufferedReader LINES = new BufferedReader(new InputStreamReader(System.in));

    public static void main(String[] args) throws Exception {
        boolean produces = args[0].equals("produce");
        Properties settings = new Properties();
        settings.put("bootstrap.servers", "127.0.0.1:" + args[1]);
        for (int i = produces ? 2 : 4; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        if (produces) {
            produce(settings);
        } else {
            settings.put("group.id", args[3]);
            consume(settings, args[2]);
        }
    }

    static void produce(Properties settings) throws Exception {
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (String line = LINES.readLine(); line != null; line = LINES.readLine()) {
                String[] words = line.split(" ");
                int count = Integer.parseInt(words[2]);
                List<Future<RecordMetadata>> answers = new ArrayList<>();
                for (int n = 0; n < count; n++) {
                    var record = new ProducerRecord<byte[], byte[]>(words[1], new byte[Integer.parseInt(words[3])]);
                    if (words.length > 4) {
                        String context = String.format("00-%032x-%016x-01", n + 1, n + 1);
                        record.headers().add("traceparent", context.getBytes(StandardCharsets.UTF_8));
                    }
                    answers.add(producer.send(record));
                }
                producer.flush();
                for (Future<RecordMetadata> answer : answers) {
                    try {
                        RecordMetadata sent = answer.get();
                        System.out.println("sent " + sent.topic() + " " + sent.partition() + " " + sent.offset());
                    } catch (ExecutionException failed) {
                        System.out.println("failed " + failed.getCause().getClass().getSimpleName());
                    }
                }
                System.out.println("done");
            }
        }
    }

    static void consume(Properties settings, String topic) throws Exception {
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            for (String line = LINES.readLine(); line != null; line = LINES.readLine()) {
                int left = Integer.parseInt(line.split(" ")[1]);
                while (left > 0) {
                    for (ConsumerRecord<byte[], byte[]> got : consumer.poll(Duration.ofMillis(200))) {
                        Header context = got.headers().lastHeader("traceparent");
                        String text = context == null ? "" : new String(context.value(), StandardCharsets.UTF_8);
                        System.out.println("got " + got.topic() + " " + got.partition() + " " + got.offset() + " " + text);
                        left--;
                    }
                }
                consumer.commitSync();
                System.out.println("done");
            }
        }
    }
}
