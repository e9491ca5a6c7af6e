import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Socket;
import java.util.Base64;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Asks for an echo with text and bytes, joins a room, and says what it is given: java Talker URL TRANSPORTS. */
public class Talker {
  private static final byte[] DATA = new byte[300];

  public static void main(String[] arguments) throws Exception {
    for (int n = 0; n < DATA.length; n++) DATA[n] = (byte) n;
    IO.Options options = IO.Options.builder().setTransports(arguments[1].split(",")).setForceNew(true).build();
    Socket socket = IO.socket(arguments[0], options);
    BlockingQueue<String> said = new LinkedBlockingQueue<>();
    socket.on(Socket.EVENT_CONNECT_ERROR, what -> said.add("refused " + what[0]));
    socket.on("news", what -> said.add("news " + text(what)));
    Ack joined = answer -> socket.emit("say", "java", "news", "hé", DATA);
    Ack echoed = answer -> { said.add("echo " + text(answer)); socket.emit("join", new Object[] {"java"}, joined); };
    socket.once(Socket.EVENT_CONNECT, what -> socket.emit("back", new Object[] {"hé", 7, DATA}, echoed));
    socket.connect();
    for (int n = 0; n < 2; n++) System.out.println(said.poll(20, TimeUnit.SECONDS));
    socket.disconnect();
    System.exit(0);
  }

  private static String text(Object[] values) {
    StringBuilder found = new StringBuilder();
    for (Object value : values) {
      String one = value instanceof byte[] ? Base64.getEncoder().encodeToString((byte[]) value) : String.valueOf(value);
      found.append(found.length() == 0 ? "" : " ").append(one);
    }
    return found.toString();
  }
}
