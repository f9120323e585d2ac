import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.ServerVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

/** mongo-java-server as MongoDB 3.0, which older drivers ask by operations that newer servers no longer have. */
public class Serve {
    public static void main(String[] arguments) throws InterruptedException {
        var backend = new MemoryBackend().version(ServerVersion.MONGO_3_0);
        new MongoServer(backend).bind(arguments[0], Integer.parseInt(arguments[1]));
        Thread.currentThread().join();
    }
}
