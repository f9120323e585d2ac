import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** JDBC's driver, in its own ways: {@code Client URL}. */
public class Client {
    private static void query(Connection conn, String text, int fetch, Object... arguments) throws SQLException {
        try (PreparedStatement statement = conn.prepareStatement(text)) {
            statement.setFetchSize(fetch);
            for (int at = 0; at < arguments.length; at++) {
                statement.setObject(at + 1, arguments[at]);
            }
            if (statement.execute()) {
                ResultSet rows = statement.getResultSet();
                while (rows.next()) {}
            }
        }
    }

    private static void fails(Connection conn, String text, Object... arguments) {
        try {
            query(conn, text, 0, arguments);
        } catch (SQLException expected) {
            return;
        }
        throw new AssertionError(text);
    }

    public static void main(String[] args) throws Exception {
        try (Connection conn = DriverManager.getConnection(args[0]); Statement statement = conn.createStatement()) {
            statement.execute("CREATE TEMP TABLE item (id int PRIMARY KEY, name text)");
            try (PreparedStatement insert = conn.prepareStatement("INSERT INTO item VALUES (?, ?)")) {
                for (int number = 0; number < 3000; number++) {
                    insert.setInt(1, number);
                    insert.setString(2, "secret".repeat(number % 5));
                    insert.addBatch();
                }
                insert.executeBatch();
            }
            for (int number = 0; number < 8; number++) { // from the fifth on it is prepared
                query(conn, "SELECT name FROM item WHERE id = ?", 0, number);
            }
            statement.execute("SELECT count(*) FROM item; SELECT max(id) FROM item");
            conn.setAutoCommit(false);
            query(conn, "SELECT id, name FROM item", 700);
            query(conn, "UPDATE item SET name = ? WHERE id = ?", 0, "secret", 5);
            conn.commit();
            conn.setAutoCommit(true);
            fails(conn, "SELEC 1");
            fails(conn, "SELECT id FROM nowhere WHERE id = ?", 5);
            fails(conn, "SELECT id / (id - ?) FROM item", 5);
            query(conn, "SELECT min(id) FROM item WHERE id > ?", 0, 7);
        }
    }
}
