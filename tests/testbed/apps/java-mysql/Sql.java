import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/**
 * A client of MySQL through whichever JDBC driver is on the class path: it asks what it is told to, line by line.
 *
 * <p>Its argument is a JDBC URL. A line is what to do and how often, as in ../go-mysql/main.go; besides: batch N (N
 * inserts in one batch), call N (a procedure with two results), large N (a parameter of N bytes), stream N (the same,
 * sent apart from the statement). Each is answered by a line: "ok" or what went wrong.
 */
public final class Sql {
    private static void number(ResultSet result) throws SQLException {
        try (result) {
            if (!result.next()) {
                throw new SQLException("no row");
            }
            result.getInt(1);
        }
    }

    private static void prepared(Connection db, int number) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement("SELECT a FROM numbers WHERE a = ?")) {
            statement.setInt(1, number);
            number(statement.executeQuery());
        }
    }

    private static void reused(Connection db, int times) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement("SELECT a FROM numbers WHERE a = ?")) {
            for (int i = 0; i < times; i++) {
                statement.setInt(1, i % 100);
                number(statement.executeQuery());
            }
        }
    }

    private static void batch(Connection db, int times) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement("INSERT INTO batches (a) VALUES (?)")) {
            for (int i = 0; i < times; i++) {
                statement.setInt(1, i);
                statement.addBatch();
            }
            statement.executeBatch();
        }
    }

    private static void call(Statement statement) throws SQLException {
        boolean rows = statement.execute("CALL two()");
        int results = 0;
        while (rows || statement.getUpdateCount() != -1) {
            results += rows ? 1 : 0;
            rows = statement.getMoreResults();
        }
        if (results != 2) {
            throw new SQLException(results + " results");
        }
    }

    private static void rows(Statement statement, int count) throws SQLException {
        int left = count;
        try (ResultSet result = statement.executeQuery("SELECT seq, REPEAT('y', 100) FROM seq_1_to_" + count)) {
            while (result.next()) {
                left--;
            }
        }
        if (left != 0) {
            throw new SQLException(left + " rows too few");
        }
    }

    private static void transaction(Connection db, Statement statement) throws SQLException {
        db.setAutoCommit(false);
        statement.executeUpdate("UPDATE numbers SET b = 'x' WHERE a = 1");
        db.commit();
        db.setAutoCommit(true);
    }

    private static void large(Connection db, int bytes) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement("SELECT LENGTH(?)")) {
            statement.setBytes(1, new byte[bytes]);
            number(statement.executeQuery());
        }
    }

    private static void stream(Connection db, int bytes) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement("SELECT LENGTH(?)")) {
            statement.setBinaryStream(1, new ByteArrayInputStream(new byte[bytes]), bytes);
            number(statement.executeQuery());
        }
    }

    private static void fail(Statement statement) throws SQLException {
        try {
            statement.executeQuery("SELECT * FROM nosuch").close();
        } catch (SQLException expected) {
            return;
        }
        throw new SQLException("it did not fail");
    }

    private static void once(Connection db, String what) throws SQLException {
        try (Statement statement = db.createStatement()) {
            switch (what) {
                case "query" -> number(statement.executeQuery("SELECT a FROM numbers WHERE a = 7"));
                case "exec" -> statement.executeUpdate("UPDATE numbers SET b = 'secret' WHERE a = 7");
                case "prepared" -> prepared(db, 8);
                case "fail" -> fail(statement);
                case "ping" -> db.isValid(5);
                case "transaction" -> transaction(db, statement);
                case "call" -> call(statement);
                default -> throw new SQLException("what is " + what + "?");
            }
        }
    }

    private static void run(Connection db, String what, String how) throws SQLException {
        try (Statement statement = db.createStatement()) {
            switch (what) {
                case "use" -> db.setCatalog(how);
                case "reused" -> reused(db, Integer.parseInt(how));
                case "batch" -> batch(db, Integer.parseInt(how));
                case "rows" -> rows(statement, Integer.parseInt(how));
                case "large" -> large(db, Integer.parseInt(how));
                case "stream" -> stream(db, Integer.parseInt(how));
                case "long" -> number(statement.executeQuery(
                        "SELECT LENGTH('" + "z".repeat(Integer.parseInt(how)) + "')"));
                default -> {
                    for (int i = 0; i < Integer.parseInt(how); i++) {
                        once(db, what);
                    }
                }
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection db = DriverManager.getConnection(arguments[0], "app", "secret")) {
            System.out.println("ok");
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] words = line.split(" ", 2);
                try {
                    run(db, words[0], words[1]);
                    System.out.println("ok");
                } catch (SQLException wrong) {
                    System.out.println(wrong.getMessage().lines().findFirst().orElse("?"));
                }
            }
        }
    }
}
